//! The one window: it shows the pages of the executable and goes nowhere else.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use tauri::webview::NewWindowResponse;
use tauri::{
    AppHandle, DragDropEvent, Manager, PhysicalPosition, PhysicalSize, Runtime, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder,
    Window, WindowEvent,
};

use crate::desktop::Desktop;
use crate::types::AppEvent;

/// The name that the window's place is kept under.
const KEPT: &str = "window";

/// Where the window was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    x: i32,
    y: i32,
    width: u32,
    height: u32,
    maximized: bool,
}

/// Makes the window, which is not seen yet.
pub fn make<R: Runtime, M: Manager<R>>(app: &M) -> tauri::Result<WebviewWindow<R>> {
    WebviewWindowBuilder::new(app, "main", WebviewUrl::App("index.html".into()))
        .title("nanochat")
        .inner_size(1120.0, 760.0)
        .min_inner_size(360.0, 480.0)
        .visible(false)
        // The web view keeps nothing of what it shows. A driver of tests cannot use such a one.
        .incognito(!cfg!(feature = "e2e"))
        .on_navigation(is_page)
        .on_new_window(|_, _| NewWindowResponse::Deny)
        .on_download(|_, _| false)
        .build()
}

/// Opens the window where it was.
pub fn open<R: Runtime>(window: &WebviewWindow<R>) -> tauri::Result<()> {
    let place = window.try_state::<Desktop>().and_then(|desktop| desktop.store.value::<Place>(KEPT).ok().flatten());
    if let Some(place) = place {
        let (width, height) = (place.width.clamp(360, 16_384), place.height.clamp(480, 16_384));
        window.set_size(PhysicalSize::new(width, height))?;
        // On a screen that is not there any more it would be lost.
        let seen = |x: i32, y: i32| window.available_monitors().is_ok_and(|monitors| monitors.iter().any(|monitor| holds(monitor, x, y)));
        if seen(place.x + 40, place.y + 40) {
            window.set_position(PhysicalPosition::new(place.x, place.y))?;
        }
        if place.maximized {
            window.maximize()?;
        }
    }
    window.show()
}

fn holds(monitor: &tauri::Monitor, x: i32, y: i32) -> bool {
    let (at, size) = (monitor.position(), monitor.size());
    let within = |value: i32, from: i32, length: u32| value >= from && i64::from(value) < i64::from(from) + i64::from(length);
    within(x, at.x, size.width) && within(y, at.y, size.height)
}

/// Whether an address is one of the pages.
fn is_page(url: &Url) -> bool {
    let host = url.host_str();
    match url.scheme() {
        "tauri" => host == Some("localhost"),
        // What the pages are called on Windows.
        "http" | "https" => cfg!(windows) && host == Some("tauri.localhost"),
        _ => false,
    }
}

/// Shows the window and brings it to the front.
pub fn show<R: Runtime>(app: &AppHandle<R>) {
    if let Some(window) = app.get_webview_window("main") {
        let _ = window.unminimize();
        let _ = window.show();
        let _ = window.set_focus();
    }
}

/// Hears what happens to the window.
pub fn on_event<R: Runtime>(window: &Window<R>, event: &WindowEvent) {
    let Some(desktop) = window.try_state::<Desktop>() else { return };
    match event {
        WindowEvent::CloseRequested { api, .. } => {
            remember(window, &desktop);
            // The page asks; closing once more needs no page that answers.
            if let Some(run) = desktop.trainer.live()
                && !desktop.closing.swap(true, Ordering::Relaxed)
            {
                api.prevent_close();
                desktop.tell(AppEvent::CloseRequested { run });
            }
        }
        WindowEvent::DragDrop(DragDropEvent::Enter { .. }) => desktop.tell(AppEvent::Drag { over: true }),
        WindowEvent::DragDrop(DragDropEvent::Leave) => desktop.tell(AppEvent::Drag { over: false }),
        WindowEvent::DragDrop(DragDropEvent::Drop { paths, .. }) => {
            desktop.tell(AppEvent::Drag { over: false });
            desktop.dropped(paths);
        }
        _ => {}
    }
}

/// Keeps the window's place. What cannot be asked or written is no loss.
fn remember<R: Runtime>(window: &Window<R>, desktop: &Desktop) {
    let (Ok(at), Ok(size)) = (window.outer_position(), window.inner_size()) else { return };
    let maximized = window.is_maximized().unwrap_or(false);
    let place = Place { x: at.x, y: at.y, width: size.width, height: size.height, maximized };
    let _ = desktop.store.set_value(KEPT, &place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_are_addresses() {
        for (url, good) in [
            ("tauri://localhost/index.html", true),
            ("tauri://localhost/#/models", true),
            ("tauri://evil/index.html", false),
            ("https://example.org/", false),
            ("file:///etc/passwd", false),
            ("data:text/html,x", false),
            ("javascript:alert(1)", false),
            ("about:blank", false),
            ("blob:tauri://localhost/1", false),
        ] {
            assert_eq!(is_page(&url.parse().unwrap()), good, "{url}");
        }
    }
}
