"""An HTTP address as the target of a stream: CloudEvents 1.0, one request after another, in order.

Each request carries an `Idempotency-Key` made from the app, the stream and the places of its events: it is the same whenever
the same events are sent again. What the answer means: 2xx took them; 408, 429, 5xx, a redirect or no answer: not now; any
other 4xx: never.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from headwater.core.errors import DeclarationError, Fatal, Retryable
from headwater.following.formats import CLOUD, CLOUD_BATCH, cloud_batch, cloud_event
from headwater.following.page import Page

_NOT_NOW = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_READ_BYTES = 64 << 10  # of an answer; the connection is given up where there is more
_SHOWN = 200


class NotNow(Retryable):
    """The receiver could not be reached, or asks to try again. `delay_s` is its Retry-After."""

    def __init__(self, what: str, where: str, delay_s: float) -> None:
        self.delay_s = delay_s
        super().__init__(what, where=where)


class Unreachable(Exception):  # noqa: N818 - says what is wrong
    """Not now, and nobody said when."""


class Webhook:
    """Posts a stream's events to one address over one kept connection.

    Args:
        url: http or https.
        app: The app's name, the first part of each key.
        most: Events in one request: 1 sends single CloudEvents, more sends batches.
        headers: Sent with each request, such as an Authorization.
        timeout_s: For connecting, and for each read.

    Raises:
        DeclarationError: The URL is none.
    """

    def __init__(
        self, url: str, app: str, *, most: int = 1, headers: Mapping[str, str] | None = None, timeout_s: float
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise DeclarationError("a webhook needs an address", where="app.webhook", expected="http(s)://host/path", got=url)
        self.most = most
        # What is said of a failure names the host only: paths and queries of webhooks are often secrets.
        self._app, self._where = app, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = dict(headers or {})
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            secure = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=secure)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)

    def hand_over(self, page: Page) -> None:
        """See `Target.hand_over`.

        Raises:
            Fatal: A 4xx that will not change.
            NotNow, Unreachable: Anything else but 2xx.
        """
        status, said, retry_after = self._post(page)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return
        what = f"the receiver answered {status}{f' ({said})' if said else ''}"
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _NOT_NOW:
            raise Fatal(what, where=self._where)
        if retry_after is not None:
            raise NotNow(what, self._where, retry_after)
        raise Unreachable(f"{self._where}: {what}")

    def _post(self, page: Page) -> tuple[int, str, float | None]:
        """Send one request: (status, what the answer says, seconds of its Retry-After)."""
        is_batch = self.most > 1
        body = cloud_batch(page) if is_batch else cloud_event(page)
        headers = {
            **self._headers, "content-type": CLOUD_BATCH if is_batch else CLOUD, "idempotency-key": self._key(page),
            "user-agent": "headwater",
        }  # fmt: skip
        try:
            self._connection.request("POST", self._path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read(_READ_BYTES)
            if not answer.isclosed():
                self._connection.close()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens a new one
            raise Unreachable(f"{self._where}: no answer ({type(error).__name__}: {error})") from error
        said = content[:_SHOWN].decode(errors="replace").strip()
        return answer.status, said if said.isprintable() else ascii(said), _seconds(answer.headers.get("retry-after"))

    def _key(self, page: Page) -> str:
        first, last = int(page.seq[0]), int(page.seq[-1])
        return f"{self._app}/{page.stream}/{first}" + (f"-{last}" if self.most > 1 else "")

    def close(self) -> None:
        """See `Target.close`."""
        self._connection.close()


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:  # an HTTP date: our own pauses are as good
        return None
