"""A job's time beside what is usual for its task: in words, and as a bar with marks."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_cfg_tasks.admin.display import duration
from django_cfg_tasks.history.performance import Usual

SHORTEST = 1.0
"""Milliseconds: what is shorter is not told apart."""
NOTABLE = 1.5
"""Times the median, below which nothing is called slow."""
_HEIGHT = 18


@dataclass(frozen=True, slots=True)
class Pace:
    """Milliseconds that a job took for one thing, and that its task's jobs usually take for it."""

    milliseconds: float
    usual: Usual

    @property
    def ratio(self) -> float:
        """How many times the median it took."""
        return max(self.milliseconds, SHORTEST) / max(self.usual.median, SHORTEST)

    @property
    def is_slow(self) -> bool:
        """Whether it is slower than 95 % of the others, where that makes a difference."""
        return self.milliseconds > self.usual.p95 and self.ratio >= NOTABLE

    @property
    def lasted(self) -> str:
        return duration(self.milliseconds)

    @property
    def words(self) -> str:
        """How it compares with the median, and with nearly all."""
        median, p95 = duration(self.usual.median), duration(self.usual.p95)
        ratio = self.ratio
        if 0.95 <= ratio < 1.05:
            text = _("about the median of %(median)s") % {"median": median}
        else:
            times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}" if ratio >= 0.01 else "< 0.01"
            text = _("%(times)s \N{MULTIPLICATION SIGN} the median of %(median)s") % {"times": times, "median": median}
        beyond = _("slower than 95 %% of them (%(p95)s)") if self.is_slow else _("95 %% take up to %(p95)s")
        return f"{text}; {beyond % {'p95': p95}}"

    def svg(self) -> SafeString:
        """Return a bar as long as the job took, with marks at the median and at the 95th percentile."""
        most = max(self.milliseconds, self.usual.p95, SHORTEST) * 1.05
        median, p95, own = (f"{value / most * 100:.3f}%" for value in (
            self.usual.median, self.usual.p95, max(self.milliseconds, SHORTEST)))  # fmt: skip
        return format_html(
            '<svg class="dct-pace" width="100%" height="{height}" role="img" aria-label="{words}">'
            '<rect class="dct-pace-usual" x="0" y="1" width="{p95}" height="16"><title>{p95_title}</title></rect>'
            '<rect class="dct-pace-own{slow}" x="0" y="5" width="{own}" height="8"><title>{own_title}</title></rect>'
            '<line class="dct-pace-median" x1="{median}" x2="{median}" y1="0" y2="{height}">'
            "<title>{median_title}</title></line></svg>",
            height=_HEIGHT,
            words=f"{self.lasted}: {self.words}",
            p95=p95,
            p95_title=_("95 %% take up to %(p95)s") % {"p95": duration(self.usual.p95)},
            slow=" dct-pace-slow" if self.is_slow else "",
            own=own,
            own_title=_("this job: %(time)s") % {"time": self.lasted},
            median=median,
            median_title=_("median: %(time)s") % {"time": duration(self.usual.median)},
        )
