//! `millstream top ADDRESS`: what a running feed does, live.

mod table;

use super::Log;
use crate::error::{Error, Result};
use crate::io::OutputFile;
use crate::metrics::Snapshot;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use table::View;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take: the server is on the same network, and a view that hangs is none.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the page at most: some thousand feeds.
const PAGE_BYTES_MAX: u64 = 64 << 20;

/// Show what the feeds of a running `millstream run` do, live
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Where its pages are: [server] listen of the configuration, or an address that begins with http:// or https://
    address: String,
    /// Print one table and end, for scripts; rates are those of one second
    #[arg(long)]
    once: bool,
    /// Send the token in this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

const EXAMPLES: &str = "Keys: s sorts by the next column, p pauses, q quits.\n\n\
    Examples:\n  \
    millstream top 127.0.0.1:7401\n  \
    millstream top --once 127.0.0.1:7401\n\n\
    Exit status: 0 done, 1 nothing answers, 2 wrong usage, 65 something else answers, 74 the output cannot be written";

/// The page that is looked at.
struct Page {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
}

impl Page {
    fn new(arguments: &Arguments) -> Result<Self> {
        let address = arguments.address.trim_end_matches('/');
        let address = if address.starts_with("http://") || address.starts_with("https://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let url = match address.strip_suffix("/metrics") {
            Some(_) => address,
            None => address + "/metrics",
        };
        let token = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).map_err(|source| Error::Input {
                path: path.clone(),
                source,
            })?;
            Ok::<_, Error>(format!("Bearer {}", text.lines().next().unwrap_or_default().trim()))
        };
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build();
        Ok(Self {
            agent: config.into(),
            url,
            authorization: arguments.token_file.as_ref().map(token).transpose()?,
        })
    }

    fn look(&self) -> Result<Snapshot> {
        let url = &self.url;
        let nothing = |e: ureq::Error| {
            Error::Unavailable(format!(
                "nothing answers at {url}: {e}; [server] listen in the configuration of the running feed says where it does"
            ))
        };
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(nothing)?;
        match response.status().as_u16() {
            200 => {}
            401 => {
                return Err(Error::Unavailable(format!(
                    "{url} wants a token: --token-file names its file"
                )));
            }
            _ => return Err(Error::Data(format!("{url} answers {}", response.status()))),
        }
        let text = response.body_mut().with_config().limit(PAGE_BYTES_MAX).read_to_string();
        Snapshot::parse(&text.map_err(nothing)?).map_err(|e| Error::Data(format!("{url}: {e}")))
    }
}

pub(super) fn run(arguments: &Arguments, _: Log) -> Result<()> {
    let page = Page::new(arguments)?;
    let first = (page.look()?, Instant::now());
    if arguments.once {
        return once(&page, first);
    }
    if !std::io::stdout().is_terminal() {
        let message = "standard output is not a terminal: --once prints one table and ends";
        return Err(Error::Usage(message.into()));
    }
    let mut terminal = ratatui::try_init().map_err(|source| Error::Output {
        path: "-".into(),
        source,
    })?;
    let result = watch(&page, first, &mut terminal);
    ratatui::restore();
    result.map_err(|source| Error::Output {
        path: "-".into(),
        source,
    })
}

/// Prints what happened in one second.
fn once(page: &Page, (before, began): (Snapshot, Instant)) -> Result<()> {
    std::thread::sleep(INTERVAL);
    let after = page.look()?;
    let mut view = View::new(&page.url);
    view.update(&after, &before, began.elapsed().as_secs_f64());
    let mut output = OutputFile::create(Path::new("-"))?;
    output.write_all(view.text().as_bytes()).map_err(|e| output.error(e))?;
    output.finish()
}

/// Shows what happens until a key ends it.
fn watch(page: &Page, first: (Snapshot, Instant), terminal: &mut ratatui::DefaultTerminal) -> std::io::Result<()> {
    let mut view = View::new(&page.url);
    let (mut last, mut next) = (first, Instant::now() + INTERVAL);
    view.update(&last.0, &last.0, 1.0);
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    _ if is_interrupt => return Ok(()),
                    KeyCode::Char('s') => view.sort = view.sort.next(),
                    KeyCode::Char('p') => view.is_paused = !view.is_paused,
                    _ => {}
                }
            }
            continue;
        }
        next = Instant::now() + INTERVAL;
        if view.is_paused {
            continue;
        }
        match page.look() {
            Ok(snapshot) => {
                let now = Instant::now();
                view.update(&snapshot, &last.0, (now - last.1).as_secs_f64());
                last = (snapshot, now);
            }
            // It may come back.
            Err(e) => view.trouble = Some(e.to_string()),
        }
    }
}
