//! What the app is built from: nothing that could open a connection, and nothing of a command line.

use crate::types::Licence;

/// Crates that speak over a network, or that only such crates need.
const BANNED: [&str; 30] = [
    "async-io",
    "async-net",
    "async-tungstenite",
    "attohttpc",
    "curl",
    "curl-sys",
    "h2",
    "h3",
    "hf-hub",
    "hickory-resolver",
    "hyper",
    "hyper-util",
    "isahc",
    "libp2p",
    "mio",
    "native-tls",
    "openssl",
    "openssl-sys",
    "quinn",
    "reqwest",
    "rustls",
    "sentry",
    "socket2",
    "surf",
    "tiny_http",
    "tokio-tungstenite",
    "tungstenite",
    "ureq",
    "warp",
    "zbus",
];

/// What only the command line of nc-core needs.
const COMMAND_LINE: [&str; 6] = ["clap", "ctrlc", "indicatif", "rustyline", "tiktoken-rs", "tracing-subscriber"];

#[test]
fn neither_network_nor_command_line_is_linked_into_the_app() {
    let list: Vec<Licence> = serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/licences.json"))).unwrap();
    let names: Vec<&str> = list.iter().map(|package| package.name.as_str()).collect();
    for expected in ["tauri", "wgpu", "rusqlite", "libsqlite3-sys"] {
        assert!(names.contains(&expected), "the list is not that of the app: {expected} is missing");
    }
    let found: Vec<&&str> = names.iter().filter(|name| BANNED.contains(name) || COMMAND_LINE.contains(name)).collect();
    assert!(found.is_empty(), "{found:?}");
}
