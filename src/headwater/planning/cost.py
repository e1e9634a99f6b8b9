"""What a job will cost, learnt from what such jobs have cost: a Bayesian line, its 90 % quantile, and where a job is ended.

cost = a + b * work, where work is rows x columns x trees. Costs scatter in proportion to their size, so each one counts with
weight 1 / forecast^2. Prior and likelihood are normal-inverse-gamma, hence the forecast is Student's t. Of the prior, the first
job decides the size: what was assumed of a and b says in what proportion they are.

A job may take twice the quantile, and is ended there. One that was ended tells only that it would have taken more: of the next
a quarter more is expected, so that it may take two and a half times as much. The first that comes to its end says which it
was: an exception, or costs have changed, and then what was known before counts no more.
"""

from __future__ import annotations

import numpy as np

from headwater.core.batch import Floats

BOUND = 2.0  # times the quantile: what a job may take
_PRIOR_CORE_S_PER_WORK = 1.5e-8  # a histogram boosting step, on any machine of these years, within ten times
_PRIOR_START_CORE_S = 0.005
_UNSEEN = 10.0  # times the prior mean: what the first job may take
_ENDED = 1.25  # times what an ended job has taken: at least so much is expected of the next
_LEAST_BOUND_CORE_S = 0.5  # a small job is mostly overhead, which scatters more
_T90 = np.array([3.08, 1.89, 1.64, 1.53, 1.48, 1.44, 1.41, 1.40, 1.38, 1.37, 1.28])  # by degrees of freedom; the last for more


class CostModel:
    """Core-seconds of one kind of job.

    >>> model = CostModel()
    >>> for work in (1e6, 2e6, 4e6):
    ...     model.observe(work, 1e-7 * work)
    >>> model.mean(3e6) < model.upper(3e6) < 3 * model.mean(3e6), round(model.mean(3e6), 1)
    (True, 0.3)
    >>> model.ended(3e6, 0.9)
    >>> round(model.upper(3e6), 3), round(model.most(3e6), 3)
    (1.125, 2.25)
    """

    def __init__(self) -> None:
        self._forget()
        self._times = 1.0  # what jobs that were ended tell: the quantile was too small by so much

    def _forget(self) -> None:
        self._precision: Floats = np.diag([0.01, 0.01])  # in units of the prior means: worth a hundredth of a job
        self._moment: Floats = self._precision @ np.ones(2)
        self._solve()
        self._n, self._squares, self._size = 0, 0.0, 1.0

    def _solve(self) -> None:
        self._covariance: Floats = np.asarray(np.linalg.inv(self._precision), np.float64)
        self._line: Floats = self._covariance @ self._moment

    def _row(self, work: float) -> Floats:
        return self._size * np.array([_PRIOR_START_CORE_S, _PRIOR_CORE_S_PER_WORK * max(work, 0.0)])

    @property
    def knows(self) -> bool:
        """Whether it goes by jobs that it has seen, and not by what was assumed."""
        return self._n > 0 or self._times > 1.0

    def observe(self, work: float, core_s: float) -> None:
        """A job of so much work has come to its end, and has taken so many core-seconds."""
        if not np.isfinite(core_s) or core_s <= 0.0:
            return
        if self._times > 1.0 and core_s > BOUND * self._quantile(work):
            self._forget()
        self._times = 1.0
        if self._n == 0:
            self._size = core_s / float(self._row(work).sum())
        scale = self.mean(work)
        row, cost = self._row(work) / scale, core_s / scale
        miss = float(cost - row @ self._line)
        if self._n:
            self._squares += miss * miss / float(1.0 + row @ self._covariance @ row)
        self._precision = self._precision + np.outer(row, row)
        self._moment = self._moment + cost * row
        self._solve()
        self._n += 1

    def ended(self, work: float, core_s: float) -> None:
        """A job of so much work was ended after so many core-seconds: it would have taken more."""
        self._times = max(self._times, _ENDED * core_s / self._quantile(work))

    def mean(self, work: float) -> float:
        """The forecast; never below a tenth of a millisecond."""
        return max(float(self._row(work) @ self._line), 1e-4)

    def upper(self, work: float) -> float:
        """The 90 % quantile of the forecast; with nothing seen, twice the prior mean. More, where a job has been ended."""
        return self._times * self._quantile(work)

    def most(self, work: float) -> float:
        """What a job may take before it is ended: `BOUND` times the quantile; the very first, ten times the prior mean."""
        bound = BOUND * self.upper(work)
        if self._n == 0:
            bound = max(bound, _UNSEEN * self.mean(work))
        return max(bound, _LEAST_BOUND_CORE_S)

    def _quantile(self, work: float) -> float:
        mean = self.mean(work)
        if self._n == 0:
            return 2.0 * mean
        spread = np.sqrt((self._squares + 0.04) / self._n)  # prior: one job that missed by a fifth
        row = self._row(work) / mean
        wide = np.sqrt(1.0 + row @ self._covariance @ row)
        return float(mean * (1.0 + _T90[min(self._n, _T90.size - 1)] * spread * wide))
