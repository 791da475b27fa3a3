"""Measure a grid of points with several processes or machines, each point once.

Optuna keeps the grid in a database. A killed process' trial is repeated once its heartbeat stops.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

POINT = "point"  # user attribute of a trial: the index of its point
RESULT = "result"  # user attribute of a trial: what was measured
HEARTBEAT_SECONDS = 20
OPENING_ATTEMPTS = 10
LOCK_SECONDS = 60  # how long SQLite waits while another process writes
ALIVE = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)

Measure = Callable[[dict[str, Any]], dict[str, Any]]


def share_grid(
    storage: str,
    name: str,
    points: list[dict[str, Any]],
    measure: Measure,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> list[dict[str, Any]]:
    """Measure all points of a grid, together with the other processes that have opened it.

    `storage` is a database URL as SQLAlchemy's. `measure` gets a point and returns its results as
    JSON values. Returns, when all are measured, the points with their results in the grid's order.
    The trial of a killed process is repeated after two heartbeats (in seconds).
    """
    with warnings.catch_warnings():
        # Heartbeats are experimental in Optuna, whose version is pinned.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _Grid(*_open(storage, name, heartbeat), points, measure).run(heartbeat)


@dataclass
class _Grid:
    database: RDBStorage
    study: optuna.Study
    points: list[dict[str, Any]]
    measure: Measure

    def run(self, heartbeat: int) -> list[dict[str, Any]]:
        seen: set[int] = set()
        while True:
            # To Optuna a trial killed before its first heartbeat is never stale: record one for
            # each running trial that this process sees for the first time.
            for trial in self._trials(TrialState.RUNNING):
                if trial.number not in seen:
                    seen.add(trial.number)
                    self.database.record_heartbeat(trial._trial_id)
            optuna.storages.fail_stale_trials(self.study)
            done = self._trials(TrialState.COMPLETE)
            results = {trial.user_attrs[POINT]: trial.user_attrs[RESULT] for trial in done}
            if len(results) == len(self.points):
                return [{**point, **results[index]} for index, point in enumerate(self.points)]
            known = {trial.user_attrs.get(POINT) for trial in self._trials(*ALIVE)}
            for index in range(len(self.points)):
                if index not in known:
                    self.study.enqueue_trial({}, user_attrs={POINT: index})
            if self._trials(TrialState.WAITING):
                self.study.optimize(self._measure, n_trials=1)
            else:  # Other processes measure the last ones.
                time.sleep(heartbeat / 2)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)

    def _measure(self, trial: optuna.Trial) -> float:
        """Measure a trial's point, unless it has none or another trial has it too.

        Two processes may enqueue the same point at the same moment: the first trial counts. If
        another process has just taken the last waiting trial, Optuna makes one without a point.
        """
        point = trial.user_attrs.get(POINT)
        if point is None or any(
            other.number < trial.number and other.user_attrs.get(POINT) == point
            for other in self._trials(*ALIVE)
        ):
            raise optuna.TrialPruned
        trial.set_user_attr(RESULT, self.measure(self.points[point]))
        return 0.0


def _open(storage: str, name: str, heartbeat: int) -> tuple[RDBStorage, optuna.Study]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_sqlite = storage.startswith("sqlite:")
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            database = RDBStorage(
                storage,
                engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS} if is_sqlite else {}},
                heartbeat_interval=heartbeat,
                grace_period=2 * heartbeat,
            )
            if is_sqlite:
                _lock_on_begin(database.engine)
            return database, optuna.create_study(
                storage=database, study_name=name, load_if_exists=True
            )
        except SQLAlchemyError:  # Another process is creating the tables.
            if not attempts_left:
                raise
            time.sleep(0.5)
    raise AssertionError("the loop returns or raises")


def _lock_on_begin(engine: Engine) -> None:
    """Make each transaction on SQLite lock the file when it begins.

    Optuna reads whether a trial is free and then takes it. Other databases lock the row in
    between; SQLite can't, and two processes would take the same trial.
    """
    # SQLAlchemy begins the transactions.
    event.listen(engine, "connect", lambda opened, _: setattr(opened, "isolation_level", None))
    event.listen(engine, "begin", lambda opened: opened.exec_driver_sql("BEGIN IMMEDIATE"))
    engine.dispose()  # Open connections don't have the listeners.
