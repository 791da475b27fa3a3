import math

from app.markdown import markdown_table, percent


def test_a_table_has_a_line_for_each_row_and_empty_cells_for_none() -> None:
    table = markdown_table([["one", 1], ["two", None]], ["name", "count"])
    assert table == "| name | count |\n| --- | --- |\n| one | 1 |\n| two |  |"


def test_a_share_is_a_percentage_and_none_or_nan_is_empty() -> None:
    assert [percent(s) for s in (0.1234, None, math.nan)] == ["12.3%", "", ""]
    assert percent(0.12345, 2) == "12.35%"
