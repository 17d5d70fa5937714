//! What the pages in docs/connectors show, as it stands there.

use crate::command::Place;
use crate::server::Server;

/// The blocks of a page in this language, in their order.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = format!("{}/docs/connectors/{page}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut parts = text.split("\n```");
    let mut blocks = Vec::new();
    // What is outside of blocks, and what is in them, in turn.
    parts.next();
    while let (Some(block), Some(_)) = (parts.next(), parts.next()) {
        let (of, block) = block.split_once('\n').unwrap();
        if of == language {
            blocks.push(format!("{block}\n"));
        }
    }
    blocks
}

/// A place each for the configurations of a page, of a server that is at this address there.
pub(crate) fn configured<const N: usize>(page: &str, address: &str, server: &Server) -> [Place; N] {
    let configurations: [String; N] = blocks(page, "toml").try_into().unwrap();
    configurations.map(|configuration| {
        let place = Place::new();
        configure(&place, &configuration, address, server);
        place
    })
}

/// Writes a configuration and the password that it names. The address of the server is all that is not as on the page;
/// a run that checks it must find nothing wrong.
pub(crate) fn configure(place: &Place, configuration: &str, address: &str, server: &Server) {
    assert!(configuration.contains(address), "no {address} in {configuration}");
    let there = format!("127.0.0.1:{}", server.says("port"));
    place.write("run.toml", configuration.replace(address, &there));
    place.write("password", std::fs::read(server.path("password")).unwrap_or_default());
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
}
