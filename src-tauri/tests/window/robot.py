"""Hands and eyes for the tests of the real window.

It sees what a screen reader sees, by AT-SPI, and does what a person does: presses what has a name, types keys by
xdotool, closes the window as a desktop's title bar does. It knows nothing of the app. It reads requests, a line of JSON
each, and answers each with one: {"ok": …} or {"error": "…"}.

Names are matched whole, or where they end with "…" by what they begin with.
"""

import ctypes
import json
import os
import subprocess
import sys
import time

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402

# What WebKit writes in a text where a child stands.
CHILD = "\ufffc"


class Missing(Exception):
    """What was asked for is not there."""


def apps():
    desktop = Atspi.get_desktop(0)
    for index in range(desktop.get_child_count()):
        app = desktop.get_child_at_index(index)
        if app is not None and app.get_name() == "nanochat":
            yield app


def walk(node, depth=0):
    """A node and all below it, in the order of the page."""
    yield node, depth
    for index in range(node.get_child_count()):
        child = node.get_child_at_index(index)
        if child is not None:
            yield from walk(child, depth + 1)


def everything():
    for app in apps():
        yield from walk(app)


def fits(name, wanted):
    return name.startswith(wanted[:-1]) if wanted.endswith("…") else name == wanted


def has(node, *states):
    own = node.get_state_set()
    return all(own.contains(getattr(Atspi.StateType, state.upper())) for state in states)


def words(node):
    """All that is written in a node and below it."""
    count = node.get_child_count()
    children = [node.get_child_at_index(index) for index in range(count)]
    text = None
    if "Text" in Atspi.Accessible.get_interfaces(node):
        text = Atspi.Text.get_text(node, 0, Atspi.Text.get_character_count(node))
    if not text:
        inner = [words(child) for child in children if child is not None]
        return "\n".join(filter(None, inner)) if inner else (node.get_name() or "")
    for child in children:
        if child is not None:
            text = text.replace(CHILD, words(child), 1)
    return text


def describe(node):
    return {"role": node.get_role_name(), "name": node.get_name() or "", "enabled": has(node, "enabled"), "checked": has(node, "checked")}


def search(request):
    """Nodes of this role and name; `within` names what they must be in, and `last` means the last of those."""
    role, name, within = request.get("role"), request.get("name"), request.get("within")
    roots = [everything()]
    if within:
        around = list(search(within | {"do": "find"}))
        roots = [walk(node) for node in (around[-1:] if within.get("last") else around)]
    for root in roots:
        for node, _ in root:
            try:
                if role is not None and node.get_role_name() not in role.split("|"):
                    continue
                if name is not None and not fits(node.get_name() or "", name):
                    continue
                if not within and role is None and name is None:
                    continue
                # What is scrolled out of sight comes into it by the focus.
                if not (request["do"] == "focus" or request.get("hidden") or has(node, "showing")):
                    continue
            except GLib.Error:
                continue  # It is gone by now.
            yield node


def one(request):
    """The node that is meant: the last one, where `last` is asked for."""
    found = None
    for found in search(request):
        if not request.get("last"):
            break
    if found is None:
        raise Missing("there is no " + json.dumps(request))
    return found


def until(request, attempt):
    """What `attempt` gives, as soon as it gives something."""
    end = time.monotonic() + request.get("seconds", 30)
    while True:
        try:
            return attempt()
        except (Missing, GLib.Error, subprocess.SubprocessError) as error:
            if time.monotonic() > end:
                raise Missing(f"{error}") from error
        time.sleep(0.03)


def find(request):
    def attempt():
        node = one(request)
        text = request.get("text")
        if text is not None and text not in words(node):
            raise Missing(f"{json.dumps(request)} says: {words(node)!r}")
        if request.get("enabled") and not has(node, "enabled"):
            raise Missing(f"{json.dumps(request)} is disabled")
        return describe(node)

    return until(request, attempt)


def gone(request):
    def attempt():
        if any(True for _ in search(request)):
            raise Missing(f"{json.dumps(request)} is still there")
        return True

    return until(request, attempt)


def press(request):
    def attempt():
        node = one(request)
        if not has(node, "enabled"):
            raise Missing(f"{json.dumps(request)} is disabled")
        if not Atspi.Action.do_action(node, 0):
            raise Missing(f"{json.dumps(request)} cannot be pressed")
        return True

    return until(request, attempt)


def focus(request):
    def attempt():
        node = one(request)
        Atspi.Component.grab_focus(node)
        if not has(node, "focused"):
            raise Missing(f"{json.dumps(request)} takes no focus")
        return True

    return until(request, attempt)


def fill(request):
    """Writes into a field of the system's own dialogs. In a page nobody would hear of it: use keys there."""

    def attempt():
        if not Atspi.EditableText.set_text_contents(one(request), request["text"]):
            raise Missing(f"{json.dumps(request)} takes no text")
        return True

    return until(request, attempt)


def read(request):
    return until(request, lambda: words(one(request)))


def all_of(request):
    return [describe(node) | {"text": words(node)} for node in search(request)]


def xdotool(*arguments):
    return subprocess.run(["xdotool", *arguments], check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def windows(title="nanochat"):
    try:
        return xdotool("search", "--onlyvisible", "--name", f"^{title}$").split()
    except subprocess.CalledProcessError:
        return []


def window(request):
    def attempt():
        found = windows(request.get("title", "nanochat"))
        if not found:
            raise Missing("there is no window")
        return found[0]

    return until(request, attempt)


def activate(request):
    """Without a window manager nobody else says which window has the keyboard."""

    def attempt():
        found = windows(request.get("title", "nanochat"))
        if not found:
            raise Missing("there is no window")
        xdotool("windowfocus", found[0])
        if xdotool("getwindowfocus") != found[0]:
            raise Missing("the window takes no focus")
        return True

    return until(request, attempt)


def keys(request):
    for key in request["keys"]:
        xdotool("key", "--clearmodifiers", key)
    return True


def click(request):
    """Presses the mouse at a place of the window."""
    x, y, _, _ = geometry(request)
    xdotool("mousemove", str(x + request["at"][0]), str(y + request["at"][1]), "click", "1")
    return True


def write(request):
    subprocess.run(["xdotool", "type", "--clearmodifiers", "--delay", "8", "--", request["text"]], check=True)
    return True


def geometry(request):
    lines = xdotool("getwindowgeometry", "--shell", window(request)).splitlines()
    values = dict(line.split("=", 1) for line in lines)
    return [int(values[key]) for key in ("X", "Y", "WIDTH", "HEIGHT")]


def place(request):
    own, (x, y, width, height) = window(request), map(str, request["to"])
    xdotool("windowsize", own, width, height)
    xdotool("windowmove", own, x, y)
    return True


def picture(request):
    """Writes what the window shows into a file, as PNG."""
    gi.require_version("Gdk", "3.0")
    from gi.repository import Gdk

    picture = Gdk.pixbuf_get_from_window(Gdk.get_default_root_window(), *geometry(request))
    if picture is None or not picture.savev(request["file"], "png", ["compression"], ["9"]):
        raise Missing(f"no picture can be written to {request['file']}")
    return True


class ClientMessage(ctypes.Structure):
    """Xlib's XClientMessageEvent, as large as any event."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("rest", ctypes.c_byte * 96),
    ]


def close(request):
    """Asks the window to close, as the button in a title bar does."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x11.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(None)
    own = int(window(request))
    event = ClientMessage(type=33, window=own, format=32)
    event.message_type = x11.XInternAtom(display, b"WM_PROTOCOLS", 0)
    event.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
    x11.XSendEvent(display, own, 0, 0, ctypes.byref(event))
    x11.XCloseDisplay(display)
    return True


def tree(_):
    lines = []
    for node, depth in everything():
        name = node.get_name() or (words(node) if node.get_role_name() in ("paragraph", "section", "status bar") else "")
        flags = "".join(letter for letter, state in (("S", "showing"), ("E", "enabled"), ("F", "focused")) if has(node, state))
        lines.append(f"{'  ' * depth}{node.get_role_name()} {name[:80]!r} {flags}")
    return "\n".join(lines)


def clock(_):
    return time.monotonic()


DEEDS = {
    "find": find,
    "gone": gone,
    "press": press,
    "focus": focus,
    "fill": fill,
    "read": read,
    "all": all_of,
    "keys": keys,
    "click": click,
    "write": write,
    "window": window,
    "activate": activate,
    "geometry": geometry,
    "place": place,
    "picture": picture,
    "close": close,
    "tree": tree,
    "clock": clock,
}


def main():
    # Whoever waits long for an answer waits for a page that hangs.
    Atspi.set_timeout(5000, 15000)
    print(json.dumps({"ok": os.getpid()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": DEEDS[request["do"]](request)}
        except (Missing, GLib.Error, subprocess.SubprocessError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
