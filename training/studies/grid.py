"""Work a grid of trials off together: several processes or machines, no trial twice.

The grid is kept in a database by Optuna. A process that is stopped leaves its trial behind; it is
taken up again once its heartbeat has been missing for long enough.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

POINT = "point"  # a trial's place in the grid, in Optuna's user attributes
HEARTBEAT_SECONDS = 20
OPENING_ATTEMPTS = 10
LOCK_SECONDS = 60  # how long SQLite waits while another process writes

Measure = Callable[[dict[str, Any]], dict[str, Any]]


def share_grid(
    storage: str,
    name: str,
    points: list[dict[str, Any]],
    measure: Measure,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> list[dict[str, Any]]:
    """Measure all points of a grid, together with whoever else has opened it.

    `storage` is a database's address as SQLAlchemy writes it. `measure` gets a point and returns
    what was found, as JSON values. Returns the points with what was found, in the grid's order,
    when all are measured. A trial of a process that was killed is repeated after two heartbeats.
    """
    with warnings.catch_warnings():
        # Heartbeats may change in Optuna's next version, which the pinned one can't.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        database, study = _open(storage, name, heartbeat)
        return _work_off(database, study, points, measure, heartbeat)


def _work_off(
    database: RDBStorage,
    study: optuna.Study,
    points: list[dict[str, Any]],
    measure: Measure,
    heartbeat: int,
) -> list[dict[str, Any]]:
    """Take trials until all are measured."""
    seen: set[int] = set()
    while True:
        _give_first_heartbeats(database, study, seen)
        optuna.storages.fail_stale_trials(study)
        found = _find_done(study)
        if len(found) == len(points):
            return [{**point, **found[index]} for index, point in enumerate(points)]
        _enqueue_missing(study, len(points))
        if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.optimize(lambda trial: _carry_out(study, trial, points, measure), n_trials=1)
        else:  # others are at the last ones
            time.sleep(heartbeat / 2)


def name_file(path: Path) -> str:
    """Return the address of a database in a file."""
    return f"sqlite:///{path}"


def _give_first_heartbeats(database: RDBStorage, study: optuna.Study, seen: set[int]) -> None:
    """Count from now on for each running trial that this process sees for the first time.

    To Optuna a trial whose process was killed before its first heartbeat is never stale.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number not in seen:
            seen.add(trial.number)
            database.record_heartbeat(trial._trial_id)


def _open(storage: str, name: str, heartbeat: int) -> tuple[RDBStorage, optuna.Study]:
    """Open the grid's record, or begin it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments = {"timeout": LOCK_SECONDS} if storage.startswith("sqlite:") else {}
    for attempt in range(OPENING_ATTEMPTS):
        try:
            database = RDBStorage(
                storage,
                engine_kwargs={"connect_args": arguments},
                heartbeat_interval=heartbeat,
                grace_period=2 * heartbeat,
            )
            if storage.startswith("sqlite:"):
                _lock_from_the_start(database.engine)
            study = optuna.create_study(storage=database, study_name=name, load_if_exists=True)
        except SQLAlchemyError:  # another process is making the tables
            if attempt == OPENING_ATTEMPTS - 1:
                raise
            time.sleep(0.5)
        else:
            return database, study
    raise AssertionError("the loop returns or raises")


def _lock_from_the_start(engine: Engine) -> None:
    """Let each transaction on SQLite lock the file when it begins.

    Optuna reads whether a trial is free and then takes it. Other databases lock the row in
    between; SQLite knows no such lock, and two processes would take the same trial.
    """
    event.listen(engine, "connect", _begin_nothing_by_itself)
    event.listen(engine, "begin", _begin_locked)
    engine.dispose()  # connections of before don't know


def _begin_nothing_by_itself(connection: Any, _: Any) -> None:
    """Keep Python's driver from beginning transactions of its own."""
    connection.isolation_level = None


def _begin_locked(connection: Connection) -> None:
    """Begin a transaction with the lock for writing."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _find_done(study: optuna.Study) -> dict[int, dict[str, Any]]:
    """Return what was found at each measured point."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {trial.user_attrs[POINT]: trial.user_attrs["found"] for trial in done}


def _enqueue_missing(study: optuna.Study, count: int) -> None:
    """Enter the points that nobody has measured, measures or is going to."""
    states = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
    known = {
        trial.user_attrs.get(POINT) for trial in study.get_trials(deepcopy=False, states=states)
    }
    for point in range(count):
        if point not in known:
            study.enqueue_trial({}, user_attrs={POINT: point})


def _carry_out(
    study: optuna.Study, trial: optuna.Trial, points: list[dict[str, Any]], measure: Measure
) -> float:
    """Measure a trial's point, unless the trial is nobody's or another's too.

    Two processes may enter the same point at the same moment; the trial that was entered first
    counts. Where the last waiting trial was taken by another just now, Optuna makes a new one
    without a point.
    """
    point = trial.user_attrs.get(POINT)
    states = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
    earlier = [
        other
        for other in study.get_trials(deepcopy=False, states=states)
        if other.number < trial.number and other.user_attrs.get(POINT) == point
    ]
    if point is None or earlier:
        raise optuna.TrialPruned
    trial.set_user_attr("found", measure(points[point]))
    return 0.0
