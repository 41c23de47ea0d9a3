"""What a page must never do while a test looks at it."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request, Response, WebError

HIT = "/struck"
"""The address of the image in `stage.EVIL`: asked for by a page that took data for HTML."""

# A violation of the policy names its line here; the browser's own message doesn't always.
VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => console.error(
    `policy violated: ${event.effectiveDirective} by ${event.blockedURI}`,
    `at ${event.sourceFile}:${event.lineNumber} ${event.sample}`));
"""


class Watch:
    """Notes what goes wrong in a browser context.

    That is: errors and warnings on the console, violations of the Content-Security-Policy among them; scripts that
    raise; answers of 400 and above; requests that fail, or go elsewhere than to ``origin``; dialogs.
    """

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self._origin = origin
        self._noted: list[str] = []
        self._allowed: list[re.Pattern[str]] = []
        context.add_init_script(VIOLATIONS)
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)
        context.on("dialog", self._dialog)

    @property
    def complaints(self) -> list[str]:
        """What was noted and not allowed, in its order."""
        return [note for note in self._noted if not any(allowed.search(note) for allowed in self._allowed)]

    def allow(self, pattern: str) -> None:
        """Expect notes that this regular expression is found in: the test provokes them."""
        self._allowed.append(re.compile(pattern))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._noted.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _error(self, error: WebError) -> None:
        self._noted.append(f"script error: {error.error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self._origin + "/", "data:", "blob:")):
            self._noted.append(f"request elsewhere: {request.url}")

    def _failed(self, request: Request) -> None:
        # A page that is left, and a download, end requests like this; a refused one is on the console as well.
        if request.failure != "net::ERR_ABORTED":
            self._noted.append(f"request failed: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._noted.append(f"answer {response.status}: {response.request.method} {response.url}")

    def _dialog(self, dialog: Dialog) -> None:
        self._noted.append(f"dialog: {dialog.message}")
        dialog.dismiss()
