# -*- test-case-name: tests.wire.test_caching -*-
"""
What a shared HTTP cache may keep and use again (RFC 9111, RFC 5861), as pure functions.

L{readWishes} reads what a request says about caching. L{appraise} says on which I{terms} an
answer may be kept, or that it must not be; L{verdict} whether it may be used for a request
at some age; L{isUsableOnError} whether it may stand in for a backend that fails. The rest is
validation: L{validators}, L{isNotModified}, L{agrees} and L{freshened}.

Whatever is unclear is decided against the cache: a freshness that is no number or is said
twice is none (RFC 9111 section 4.2.1), and an answer whose C{Cache-Control} cannot be read is
not kept.

It is ours because the library at hand, hishel, reads a clock of its own, knows no
C{stale-while-revalidate} or C{stale-if-error}, and needs 25 microseconds to say that an
answer is fresh.

Not here: a clock, a store, keys, and anything about bodies. All ages and times are seconds;
times are since the epoch.
"""

from __future__ import annotations

import calendar
import enum
import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from wsrelay.model import Headers, Response
from wsrelay.wire.heads import TOKEN

__all__ = [
    "NO_WISHES",
    "STATUSES",
    "Control",
    "Rules",
    "Terms",
    "Verdict",
    "Wishes",
    "agrees",
    "appraise",
    "freshened",
    "isNotModified",
    "isUsableOnError",
    "parseDate",
    "readControl",
    "readWishes",
    "validators",
    "variant",
    "varyNames",
    "verdict",
]

STATUSES = frozenset({200, 203, 204, 300, 301, 302, 307, 308, 404, 410})
"""
What is kept unless the rules say otherwise. An error that one client can provoke for all others
(400, 405, 414, 431, 5xx) is not among them.
"""

# RFC 9110 section 15.1. Never 206: incomplete answers are not understood here.
_HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})

# RFC 9111 section 1.2.2 asks for at least this where a number is too large.
_FOREVER = 2**31
# RFC 9111 section 4.2.2: "a typical setting of this fraction might be 10%"; and no longer
# than a day, as most caches have it.
_FRACTION, _MOST = 0.1, 86400.0
# More fields than anybody varies by.
_MAX_VARY = 16


# ----------------------------------------------------------------------- Cache-Control

_QUOTED = rb'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*"'
_MEMBER = re.compile(rb"[ \t]*+(?:(" + TOKEN + rb"+)(?:=(" + TOKEN + rb"+|" + _QUOTED + rb"))?)?")
_PAIR = re.compile(rb"\\(.)")
_DIGITS = re.compile(rb"[0-9]+")


@frozen
class Control:
    """
    The directives of C{Cache-Control}.

    @ivar members: each directive in lower case with its argument, unquoted; C{None} where
        there is none. One that is there twice with different arguments has an empty one.
    @ivar isBroken: part of it cannot be read, so that anything may have stood there.
    """

    members: Mapping[bytes, bytes | None]
    isBroken: bool = False

    def __contains__(self, name: bytes) -> bool:
        return name in self.members

    def seconds(self, name: bytes) -> int | None:
        """A directive's argument as a number; 0 if it is none, C{None} without the directive."""
        if name not in self.members:
            return None
        return _seconds(self.members[name] or b"") or 0


def _seconds(text: bytes) -> int | None:
    """A C{delta-seconds}."""
    if not _DIGITS.fullmatch(text):
        return None
    return _FOREVER if len(text) > 10 else min(int(text), _FOREVER)


def readControl(values: Iterable[bytes]) -> Control:
    """The directives of all lines of C{Cache-Control} (RFC 9111 section 5.2)."""
    members: dict[bytes, bytes | None] = {}
    isBroken = False
    for value in values:
        position = 0
        while position <= len(value):
            match = _MEMBER.match(value, position)
            assert match is not None
            name, argument = match.groups()
            comma = _endOf(value, match.end())
            if comma is None:
                # What stands in the way may hide another directive.
                isBroken = True
                comma = value.find(b",", match.end()) % (len(value) + 1)
            if name is not None:
                _remember(members, name.lower(), argument)
            position = comma + 1
    return Control(members, isBroken)


def _endOf(value: bytes, position: int) -> int | None:
    """Where the comma behind a member is, or the end; C{None} if something else is there."""
    while value[position : position + 1] in (b" ", b"\t"):
        position += 1
    return position if value[position : position + 1] in (b"", b",") else None


def _remember(members: dict[bytes, bytes | None], name: bytes, argument: bytes | None) -> None:
    if argument is not None and argument.startswith(b'"'):
        argument = _PAIR.sub(rb"\1", argument[1:-1])
    if members.setdefault(name, argument) != argument:
        members[name] = b""


@frozen
class Wishes:
    """
    What a request says about caching (RFC 9111 section 5.2.1).

    @ivar isNoCache: only what the backend has confirmed.
    @ivar isNoStore: keep nothing of it.
    @ivar isOnlyIfCached: do not ask the backend.
    @ivar maxAge: no older than that.
    @ivar minFresh: and fresh for so long yet.
    @ivar maxStale: or stale for so long.
    """

    isNoCache: bool = False
    isNoStore: bool = False
    isOnlyIfCached: bool = False
    maxAge: int | None = None
    minFresh: int = 0
    maxStale: int = 0


NO_WISHES = Wishes()
"""What most requests say."""


def readWishes(control: bytes | None, pragma: bytes | None = None) -> Wishes:
    """
    A request's C{Cache-Control}, or its C{Pragma} where there is none (RFC 9111 section 5.4).
    """
    if control is None:
        isNoCache = pragma is not None and b"no-cache" in pragma.lower()
        return Wishes(isNoCache=True) if isNoCache else NO_WISHES
    said = readControl([control])
    maxStale = said.seconds(b"max-stale") or 0
    if said.members.get(b"max-stale", b"") is None:
        maxStale = _FOREVER
    return Wishes(
        b"no-cache" in said or said.isBroken,
        b"no-store" in said or said.isBroken,
        b"only-if-cached" in said,
        said.seconds(b"max-age"),
        said.seconds(b"min-fresh") or 0,
        maxStale,
    )


# ------------------------------------------------------------------------------- dates

_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTH = b"(?P<month>" + b"|".join(_MONTHS) + b")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
# RFC 9110 section 5.6.7: the one that is written, and two that were.
_DATES = (
    re.compile(
        rb"[A-Z][a-z]{2}, (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + b" GMT"
    ),
    re.compile(
        rb"[A-Z][a-z]{5,8}, (?P<day>\d\d)-" + _MONTH + rb"-(?P<year>\d\d) " + _TIME + b" GMT"
    ),
    re.compile(
        rb"[A-Z][a-z]{2} " + _MONTH + rb" (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})"
    ),
)


def parseDate(text: bytes) -> int | None:
    """An C{HTTP-date}, in seconds since the epoch; C{None} if it is none."""
    for form in _DATES:
        match = form.fullmatch(text)
        if match is not None:
            break
    else:
        return None
    year, day, hour, minute, second = (
        int(match[name]) for name in ("year", "day", "hour", "minute", "second")
    )
    month = _MONTHS.index(match["month"]) + 1
    if len(match["year"]) == 2:
        # Two digits were written before this century was.
        year += 1900 if year >= 70 else 2000
    isTime = hour < 24 and minute < 60 and second <= 60
    if not isTime or year < 1900 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second))


def _only(values: Sequence[bytes]) -> bytes | None:
    """The value of a field that is there once, if it is."""
    return values[0] if values and values.count(values[0]) == len(values) else None


def _dateOf(headers: Headers, name: bytes) -> int | None:
    value = _only(headers.rawAll(name))
    return None if value is None else parseDate(value)


# ------------------------------------------------------------------- keeping an answer


@frozen
class Rules:
    """
    What the operator has to say.

    @ivar statuses: answers that may be kept.
    @ivar isHeuristic: whether the freshness of an answer that says nothing about it is
        guessed from its age.
    @ivar staleWhileRevalidate: for how long a stale answer is used while it is fetched
        again, where the answer says nothing.
    @ivar staleIfError: for how long it is used in place of an error.
    @ivar isObedient: whether what clients wish is heard.
    """

    statuses: frozenset[int] = STATUSES
    isHeuristic: bool = False
    staleWhileRevalidate: float = 0.0
    staleIfError: float = 0.0
    isObedient: bool = True


@frozen
class Terms:
    """
    On which terms an answer may be used again.

    @ivar lifetime: its freshness lifetime (RFC 9111 section 4.2.1).
    @ivar age: its age when it came (section 4.2.3).
    @ivar isNoCache: the backend must have confirmed it each time.
    @ivar mayBeStale: a client that asks for it may have it stale (section 4.2.4).
    @ivar whileRevalidate: for how long it may be used stale while it is fetched again.
    @ivar ifError: for how long it may be used stale in place of an error.
    """

    lifetime: float
    age: float
    isNoCache: bool = False
    mayBeStale: bool = True
    whileRevalidate: float = 0.0
    ifError: float = 0.0


def appraise(
    response: Response,
    rules: Rules,
    now: float,
    delay: float,
    isAuthorized: bool = False,
    hasCookie: bool = False,
) -> Terms | None:
    """
    Say whether the complete answer to a C{GET} may be kept, and on which terms.

    @param now: when its head came.
    @param delay: how long that took.
    @param isAuthorized: whether the request had C{Authorization}.
    @param hasCookie: whether it had C{Cookie}: then nothing is guessed.
    @return: C{None} if it must not be kept, or if there is no use in it.
    """
    headers = response.headers
    control = readControl(headers.rawAll(b"cache-control"))
    if not _mayKeep(response, control, rules, isAuthorized):
        return None
    date = _dateOf(headers, b"date")
    date = int(now) if date is None else date
    lifetime = _explicitLifetime(headers, control, date)
    if lifetime is None:
        if response.status >= 400 or (hasCookie and b"public" not in control):
            return None
        lifetime = _guessedLifetime(response, control, date) if rules.isHeuristic else 0.0
    elif response.status >= 400 and not lifetime:
        return None
    age = max(0.0, int(now) - date, _ageOf(headers) + delay)
    terms = _terms(control, rules, lifetime, age)
    window = 0.0 if terms.isNoCache else lifetime + max(terms.whileRevalidate, terms.ifError)
    return terms if window > age or validators(headers) else None


def _mayKeep(response: Response, control: Control, rules: Rules, isAuthorized: bool) -> bool:
    """RFC 9111 section 3. C{must-understand} never overrules C{no-store} here."""
    headers = response.headers
    if response.status not in rules.statuses or response.status in (206, 304):
        return False
    if control.isBroken or b"no-store" in control or b"private" in control:
        return False
    # Section 3.5: somebody's own answer is for everybody only if it says so.
    if isAuthorized and not (
        b"public" in control or b"must-revalidate" in control or b"s-maxage" in control
    ):
        return False
    # Section 7.3 warns of it, and most caches go further.
    if "set-cookie" in headers and b"public" not in control:
        return False
    return varyNames(headers) is not None


def _explicitLifetime(headers: Headers, control: Control, date: int) -> float | None:
    """RFC 9111 section 4.2.1; C{None} if the answer says nothing."""
    for name in (b"s-maxage", b"max-age"):
        seconds = control.seconds(name)
        if seconds is not None:
            return float(seconds)
    if "expires" not in headers:
        return None
    expires = _dateOf(headers, b"expires")
    # Section 5.3: an invalid date, "0" above all, is one in the past.
    return 0.0 if expires is None else float(max(0, expires - date))


def _guessedLifetime(response: Response, control: Control, date: int) -> float:
    """RFC 9111 section 4.2.2."""
    modified = _dateOf(response.headers, b"last-modified")
    if modified is None or not (response.status in _HEURISTIC or b"public" in control):
        return 0.0
    return min(max(0.0, (date - modified) * _FRACTION), _MOST)


def _ageOf(headers: Headers) -> int:
    """RFC 9111 section 5.1: of a list the first, and what is no number is not there."""
    values = headers.rawAll(b"age")
    return _seconds(values[0].partition(b",")[0].strip(b" \t")) or 0 if values else 0


def _terms(control: Control, rules: Rules, lifetime: float, age: float) -> Terms:
    isNoCache = b"no-cache" in control
    isStrict = isNoCache or b"must-revalidate" in control or b"proxy-revalidate" in control
    # Section 5.2.2.10: s-maxage forbids stale use, too. An answer that allows it in the same
    # breath, as many do for shared caches, means it.
    mayBeStale = not isStrict and b"s-maxage" not in control

    def window(name: bytes, default: float) -> float:
        seconds = control.seconds(name)
        if isStrict:
            return 0.0
        if seconds is None:
            return default if mayBeStale else 0.0
        return float(seconds)

    return Terms(
        lifetime,
        age,
        isNoCache,
        mayBeStale,
        window(b"stale-while-revalidate", rules.staleWhileRevalidate),
        window(b"stale-if-error", rules.staleIfError),
    )


# ------------------------------------------------------------------ using it once more


class Verdict(enum.Enum):
    """
    What a kept answer is good for: to be used; to be used while it is fetched again; or to
    ask the backend whether it still holds.
    """

    USE = "use"
    REFRESH = "refresh"
    VALIDATE = "validate"


def verdict(terms: Terms, wishes: Wishes, age: float) -> Verdict:
    """Whether a kept answer of this age may be used (RFC 9111 section 4, RFC 5861 section 3)."""
    left = terms.lifetime - age
    if wishes is NO_WISHES and left > 0 and not terms.isNoCache:
        return Verdict.USE
    if terms.isNoCache or wishes.isNoCache:
        return Verdict.VALIDATE
    if wishes.maxAge is not None and age > wishes.maxAge:
        return Verdict.VALIDATE
    # Section 5.2.1.1: who names an age wants nothing stale unless it says so.
    if left > 0 and left >= wishes.minFresh:
        return Verdict.USE
    if wishes.minFresh:
        return Verdict.VALIDATE
    if terms.mayBeStale and -left < wishes.maxStale:
        return Verdict.USE
    if wishes.maxAge is None and -left < terms.whileRevalidate:
        return Verdict.REFRESH
    return Verdict.VALIDATE


def isUsableOnError(terms: Terms, age: float) -> bool:
    """Whether it may be used in place of a 500, 502, 503, 504 or none (RFC 5861 section 4)."""
    return not terms.isNoCache and age - terms.lifetime < terms.ifError


def varyNames(headers: Headers) -> tuple[bytes, ...] | None:
    """
    The request fields that the answer depends on, in lower case and sorted; C{None} if no other
    request is like this one (RFC 9111 section 4.1), or if it cannot be read.
    """
    lines = headers.rawAll(b"vary")
    if not lines:
        return ()
    names = {name.strip(b" \t").lower() for name in b",".join(lines).split(b",")} - {b""}
    if len(names) > _MAX_VARY or not all(re.fullmatch(TOKEN, name) for name in names):
        return None
    return None if b"*" in names else tuple(sorted(names))


def variant(names: Iterable[bytes], headers: Headers) -> tuple[bytes | None, ...]:
    """What a request has in these fields; equal for requests that get the same answer."""
    found = []
    for name in names:
        values = headers.rawAll(name)
        found.append(b", ".join(values) if values else None)
    return tuple(found)


# -------------------------------------------------------------------------- validation

_ETAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ETAGS = re.compile(rb"[ \t,]*" + _ETAG + rb"(?:[ \t]*,[ \t,]*" + _ETAG + rb")*[ \t,]*")
_OPAQUE = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')

# RFC 9111 section 3.2: what is true of the body that is kept stays.
_OF_THE_BODY = frozenset(
    {b"content-encoding", b"content-length", b"content-range", b"content-type"}
)


def _etagOf(headers: Headers) -> bytes | None:
    etag = _only(headers.rawAll(b"etag"))
    return etag if etag is not None and _OPAQUE.fullmatch(etag) else None


def validators(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The request fields that ask whether this answer still holds (RFC 9111 section 4.3.1)."""
    fields = []
    etag = _etagOf(headers)
    if etag is not None:
        fields.append((b"If-None-Match", etag))
    modified = _only(headers.rawAll(b"last-modified"))
    if modified is not None and parseDate(modified) is not None:
        fields.append((b"If-Modified-Since", modified))
    return fields


def isNotModified(noneMatch: bytes | None, since: bytes | None, response: Response) -> bool:
    """
    Whether a client that sent these conditions has this answer already (RFC 9111 section
    4.3.2, RFC 9110 section 13.2.2).
    """
    if response.status != 200:
        return False
    headers = response.headers
    if noneMatch is not None:
        if noneMatch.strip(b" \t") == b"*":
            return True
        etag = _etagOf(headers)
        if etag is None or not _ETAGS.fullmatch(noneMatch):
            return False
        # Weak comparison (RFC 9110 section 8.8.3.2).
        return etag.removeprefix(b"W/") in _OPAQUE.findall(noneMatch)
    wanted = None if since is None else parseDate(since)
    if wanted is None:
        return False
    modified = _dateOf(headers, b"last-modified")
    if modified is None:
        modified = _dateOf(headers, b"date")
    return modified is not None and modified <= wanted


def agrees(kept: Headers, confirmed: Headers) -> bool:
    """
    Whether a 304 is about the answer that is kept (RFC 9111 section 4.3.4): what it says of
    its C{ETag} or C{Last-Modified} is what was asked about.
    """
    etags = confirmed.rawAll(b"etag")
    if etags:
        etag = _etagOf(kept)
        return (
            etag is not None
            and _only(etags) is not None
            and (etags[0].removeprefix(b"W/") == etag.removeprefix(b"W/"))
        )
    modified = confirmed.rawAll(b"last-modified")
    return not modified or modified == kept.rawAll(b"last-modified")


def freshened(kept: Headers, confirmed: Headers) -> list[tuple[bytes, bytes]]:
    """The fields of an answer that a 304 has confirmed (RFC 9111 section 3.2)."""
    new = [pair for pair in confirmed.raw if pair[0].lower() not in _OF_THE_BODY]
    names = {name.lower() for name, _ in new}
    return [pair for pair in kept.raw if pair[0].lower() not in names] + new
