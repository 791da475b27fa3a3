"""Select models by their names."""

from collections.abc import Callable, Iterable, Mapping

from app.errors import RautError, unknown_choice
from app.vision.models.cards import Card

# Returns the names of the cards whose models are to be loaded.
Needed = Callable[[dict[str, Card]], Iterable[str]]


def split_names(written: str | None) -> list[str] | None:
    """Split names at commas; None for no names."""
    return [name.strip() for name in written.split(",")] if written else None


def choose_names(cards: Mapping[str, Card], names: Iterable[str] | None) -> list[str]:
    """Return the names of the models to use, of those that have cards.

    The default is one for each task about faces: models of whole images are used only if named, or
    if there are no others. Raises `RautError` with the code `unknown_model` or
    `models_of_one_task`.
    """
    if names is None:
        faces = {name: card for name, card in cards.items() if card.region == "face"}
        return first_of_each_task(faces or cards)
    chosen = list(dict.fromkeys(names))
    if strangers := [name for name in chosen if name not in cards]:
        raise unknown_choice("unknown_model", f"There is no model {strangers[0]!r}.", sorted(cards))
    tasks = [cards[name].task for name in chosen]
    rivals = [name for name, task in zip(chosen, tasks, strict=True) if tasks.count(task) > 1]
    if rivals:
        raise RautError(
            "models_of_one_task",
            f"{' and '.join(rivals)} answer the same question. Name one of them.",
            choices=rivals,
        )
    return chosen


def first_of_each_task(cards: Mapping[str, Card]) -> list[str]:
    """Name one model for each task: the one named as the task, or else the first."""
    by_task: dict[str, str] = {}
    for name, card in cards.items():
        if name == card.task or card.task not in by_task:
            by_task[card.task] = name
    return list(by_task.values())
