//! At stake: that the README never says what is not so. A reader's walk runs each of its commands in their order,
//! in a copy of the project, and compares what they print with what the page shows. Its table of settings
//! is compared with `config.toml`, with the code and with `--help`; its links, paths and targets of `make`
//! have to exist. `README.es.md` is held to the same commands, output, settings and links.
//!
//! A command that [`KNOWN`] does not list fails: say there how it is tried. A block of `text` behind commands shows
//! lines that they print, of which a `…` stands for anything.

use crate::pages::{Block, blocks, page, prose, root, tool};
use crate::support::peer::Peer;
use crate::support::program::{Ended, Program, Start, lasting_address, run, skipped};
use loteria::config::{self, Config, Fallback, Kind, SETTINGS};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const ENGLISH: &str = "README.md";
const SPANISH: &str = "README.es.md";

/// How a command of the README is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Started in the place of a server that is running; it listens, or it ends well.
    Server,
    /// Run to its end beside a server.
    Client,
    /// The same, where there is python3.
    Python,
    /// Run to its end.
    Run,
    /// `tests/docker/run.sh` runs it, where there is an engine.
    Docker,
    /// The Makefile has this target.
    Make,
    /// The Makefile runs it.
    InMakefile,
}

/// How commands begin, behind their variables.
const KNOWN: &[(&str, Way)] = &[
    ("cargo run --release --bin server", Way::Server),
    ("cargo run --release --bin client", Way::Client),
    ("cargo run --release --features tls --bin server", Way::Server),
    ("cargo run --release --features tls --bin client", Way::Client),
    ("cargo run --release --example make_agencies", Way::Run),
    ("python3 examples/agency.py", Way::Python),
    ("./scripts/sorteo-local.sh", Way::Run),
    ("./scripts/generar-compose.sh", Way::Run),
    ("./scripts/generar-certificados.sh", Way::Run),
    ("./scripts/validar-echo-server.sh", Way::Client),
    ("docker compose", Way::Docker),
    ("docker-compose", Way::Docker),
    ("docker cp", Way::Docker),
    ("docker run", Way::Docker),
    ("make", Way::Make),
    ("cargo install --locked --path .", Way::InMakefile),
];

/// One command, without its comment and on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Typed {
    line: usize,
    text: String,
}

impl Typed {
    /// The commands of a block of `sh`.
    fn all_of(block: &Block) -> Vec<Typed> {
        let mut commands: Vec<Typed> = Vec::new();
        let mut goes_on = false;
        for (text, line) in block.text.lines().zip(block.line..) {
            let text = text.split(" #").next().expect("a split has a first part").trim();
            let (text, more) = match text.strip_suffix('\\') {
                Some(text) => (text.trim_end(), true),
                None => (text, false),
            };
            match commands.last_mut().filter(|_| goes_on) {
                Some(last) => last.text.extend([" ", text]),
                None if text.is_empty() || text.starts_with('#') => {}
                None => commands.push(Typed { line, text: text.to_owned() }),
            }
            goes_on = more;
        }
        commands
    }

    /// The command behind its variables.
    fn program(&self) -> &str {
        let mut rest = self.text.as_str();
        loop {
            let name = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').count();
            let Some(value) = rest[name..].strip_prefix('=').filter(|_| name > 0) else {
                return rest;
            };
            let end = match value.strip_prefix('\'') {
                Some(quoted) => quoted.find('\'').map(|end| end + 2),
                None => value.find(' '),
            };
            rest = value[end.unwrap_or(value.len())..].trim_start();
        }
    }

    fn way(&self) -> Option<Way> {
        let program = self.program();
        let is_it = |begin: &str| {
            program.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        KNOWN.iter().find(|(begin, _)| is_it(begin)).map(|(_, way)| *way)
    }

    #[track_caller]
    fn known_way(&self, readme: &str) -> Way {
        let Typed { line, text } = self;
        self.way().unwrap_or_else(|| {
            panic!("{readme}:{line}: no test knows how to try this: {text}\nadd it to KNOWN")
        })
    }

    /// What stands behind `option`.
    fn value_of(&self, option: &str) -> Option<&str> {
        let mut words = self.text.split(' ');
        words.find(|word| *word == option)?;
        words.next()
    }
}

/// What stands between backquotes in the prose of a page, with its line.
fn code_spans(page: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    for (text, line) in prose(page).lines().zip(1..) {
        let odd = text.split('`').skip(1).step_by(2);
        spans.extend(odd.map(|span| (line, span.to_owned())));
    }
    spans
}

/// A reader with a copy of the project, who types what the README says.
struct Reader {
    scratch: TempDir,
    address: String,
    server: Option<Program>,
}

impl Reader {
    fn new() -> Reader {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        for directory in ["scripts", "agencies", "examples", "bin", "tmp"] {
            fs::create_dir(scratch.path().join(directory)).expect("a new directory");
        }
        for directory in ["scripts", "agencies", "examples"] {
            let entries = fs::read_dir(root().join(directory)).expect("a directory of the project");
            for entry in entries {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    continue;
                }
                let name = path.file_name().expect("a file has a name");
                fs::copy(&path, scratch.path().join(directory).join(name)).expect("a copy");
            }
        }
        for file in ["config.toml", "docker-compose-dev.yaml"] {
            fs::copy(root().join(file), scratch.path().join(file)).expect("a copy");
        }
        let reader = Reader { scratch, address: lasting_address(), server: None };
        reader.install("cargo", &cargo());
        // The scripts that ask Docker first must not find a container of somebody else's.
        reader.install("docker", "#!/bin/sh\nexit 1\n");
        reader
    }

    fn install(&self, name: &str, script: &str) {
        let path = self.scratch.path().join("bin").join(name);
        fs::write(&path, script).expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    }

    fn has(&self, file: &str) -> bool {
        self.scratch.path().join(file).exists()
    }

    /// What the shell is told to start for `text`, on an address and in directories of the test's own.
    fn shell(&self, text: &str) -> Command {
        let (scratch, mut path) =
            (self.scratch.path(), self.scratch.path().join("bin").into_os_string());
        path.push(":");
        path.push(std::env::var_os("PATH").expect("a PATH"));
        let programs = Path::new(env!("CARGO_BIN_EXE_server")).parent().expect("a directory");
        let mut bash = Command::new("bash");
        let tmp = scratch.join("tmp");
        let text = text.replace("/tmp/", &format!("'{}'/", tmp.display()));
        bash.args(["-c", &text]).current_dir(scratch).env_clear();
        bash.env("PATH", path).env("TMPDIR", tmp).env("SORTEO_PROGRAMS", programs);
        bash.env("SERVER_ADDRESS", &self.address).env("CLI_SERVER_ADDRESS", &self.address);
        bash
    }

    /// Types a command; what came of it, where it has ended.
    #[track_caller]
    fn types(&mut self, typed: &Typed) -> Option<Ended> {
        if typed.text.contains(" --features tls ") && !cfg!(feature = "tls") {
            skipped(&typed.text, "this test built with `--features tls`");
            return None;
        }
        if typed.program().starts_with("./scripts/generar-certificados.sh")
            && tool("openssl").is_none()
        {
            skipped(&typed.text, "openssl");
            return None;
        }
        match typed.known_way(ENGLISH) {
            Way::Server => return self.starts_a_server(&typed.text),
            Way::Run => {}
            Way::Client => return Some(self.asks(typed)),
            Way::Python if tool("python3").is_some() => {
                // It knows no variables.
                let text = format!("{} --server {}", typed.text, self.address);
                return Some(self.asks(&Typed { text, ..*typed }));
            }
            Way::Python => {
                skipped(&typed.text, "python3");
                return None;
            }
            Way::Docker | Way::Make | Way::InMakefile => return None,
        }
        Some(self.runs(&typed.text))
    }

    #[track_caller]
    fn runs(&self, text: &str) -> Ended {
        let ended = run(self.shell(text));
        ended.exits(0);
        ended
    }

    /// Stops the server that is running, and starts another; its end, where it does not listen.
    #[track_caller]
    fn starts_a_server(&mut self, text: &str) -> Option<Ended> {
        self.stops_the_server();
        let server = Start::of(self.shell(text)).start();
        if server.logs_times_before_its_end("action: accept_connections | result: in_progress", 1) {
            self.server = Some(server);
            return None;
        }
        let ended = server.ends();
        ended.exits(0);
        Some(ended)
    }

    #[track_caller]
    fn stops_the_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.stops_quietly();
        }
    }

    /// Runs a client of a server, beside the agencies that it waits for.
    #[track_caller]
    fn asks(&mut self, typed: &Typed) -> Ended {
        // Where it sends bets of one agency, the draw must not have been held.
        let agency = typed.value_of("--agency").or(typed.value_of("examples/agency.py"));
        let agency = agency.map(str::to_owned);
        let single = typed.text.contains("NOMBRE=");
        if self.server.is_none() || agency.is_some() || single {
            if self.has("sorteo.toml") {
                self.starts_a_server("cargo run --release --bin server -- --new-draw");
            }
            self.starts_a_server("cargo run --release --bin server");
        }
        let others = agency.iter().flat_map(|agency| {
            let all = (1..=5).map(|other| other.to_string());
            all.filter(move |other| other != agency)
        });
        let start = |other: String| {
            let client = format!("cargo run --release --bin client -- --agency {other}");
            Start::of(self.shell(&client)).start()
        };
        let others: Vec<Program> = others.map(start).collect();
        let ended = self.runs(&typed.text);
        for other in others {
            other.ends().exits(0);
        }
        if single {
            self.forgets_the_bets();
        }
        ended
    }

    /// The next is another lottery.
    #[track_caller]
    fn forgets_the_bets(&mut self) {
        self.stops_the_server();
        for name in ["bets.csv", "bets.journal"] {
            fs::remove_file(self.scratch.path().join(name)).expect("a file of the server's");
        }
    }
}

/// What stands for `cargo`: the programs of this build, and fewer bets than a reader would wait for.
fn cargo() -> String {
    let server = env!("CARGO_BIN_EXE_server");
    let client = env!("CARGO_BIN_EXE_client");
    let example = Path::new(server).with_file_name("examples").join("make_agencies");
    format!(
        r#"#!/usr/bin/env bash
[ "$1 $2" = "run --release" ] || {{ echo "not for this cargo: $*" >&2; exit 2; }}
[ "$3 $4" != "--features tls" ] || set -- "$1" "$2" "${{@:5}}"
case "$3 $4" in
    "--bin server") program="{server}" ;;
    "--bin client") program="{client}" ;;
    "--example make_agencies") program="{}" ;;
    *) echo "not for this cargo: $*" >&2; exit 2 ;;
esac
shift 4
[ "${{1-}}" != -- ] || shift
[ -x "$program" ] || {{ echo "$program: build it with cargo build --example make_agencies" >&2; exit 2; }}
exec "$program" "${{@/#1000000/20000}}"
"#,
        example.display()
    )
}

/// Whether `line` is as `shown`, where `…` stands for anything.
fn matches(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let first = parts.next().expect("a split has a first part");
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
        last = Some(part);
    }
    match last {
        None => rest.is_empty(),
        Some(part) => rest.is_empty() || part.is_empty() || line.ends_with(part),
    }
}

/// Blocks of `sh`, each with the block of `text` that shows its output: the next one, if it is in the
/// same section.
fn walk(page: &str) -> Vec<(Vec<Typed>, Option<Block>)> {
    let blocks = blocks(page);
    let heading_between = |begin: usize, end: usize| {
        prose(page).lines().take(end).skip(begin).any(|line| line.starts_with('#'))
    };
    let mut steps = Vec::new();
    for (place, block) in blocks.iter().enumerate().filter(|(_, block)| block.kind == "sh") {
        let next = blocks.get(place + 1).filter(|next| next.kind == "text");
        let output = next.filter(|next| !heading_between(block.line, next.line)).cloned();
        steps.push((Typed::all_of(block), output));
    }
    steps
}

#[test]
fn every_command_works_in_the_order_of_the_page_and_prints_what_it_shows() {
    let mut reader = Reader::new();
    let steps = walk(&page(ENGLISH));
    assert!(steps.len() > 9, "{} blocks of commands", steps.len());
    for (commands, output) in steps {
        let mut printed = String::new();
        for typed in &commands {
            let ended = reader.types(typed);
            printed.extend(ended.map(|ended| ended.stdout + &ended.stderr.concat()));
            if typed.text.contains("--new-draw") {
                assert!(reader.has("bets.1.csv") && reader.has("sorteo.1.toml"), "{typed:?}");
            }
        }
        let Some(output) = output else { continue };
        for shown in output.text.lines() {
            let found = printed.lines().any(|line| matches(shown, line));
            assert!(
                found,
                "{ENGLISH}:{}: nothing printed this:\n{shown}\nbut\n{printed}",
                output.line
            );
        }
    }
    reader.stops_the_server();
}

#[test]
fn the_protocol_in_ten_lines_is_how_it_goes() {
    let all = blocks(&page(ENGLISH));
    let block = all.iter().find(|block| block.text.starts_with("> ")).expect("the ten lines");
    let mut reader = Reader::new();
    reader.starts_a_server("AGENCIES=1 cargo run --release --bin server");
    let mut agency = Peer::at(&reader.address);
    for line in block.text.lines() {
        if let Some(message) = line.strip_prefix("> ") {
            agency.says(message);
        } else if line != "< ERROR|code|detail" {
            agency.hears(line.strip_prefix("< ").expect("a message or a reply"));
        }
    }
    reader.stops_the_server();
}

/// Whether the tests of Docker run this command, or in the background what it has in the foreground.
fn docker_tests_run(command: &str) -> bool {
    // What may stand behind a command, beside `-d`, is only the shell's.
    const ENDS: [&str; 5] = ["&&", "||", "|", ")", "2>/dev/null"];
    let tests = page("tests/docker/run.sh").replace("\\\n", "");
    let tests = tests.replace("$(", " ").replace(')', " ) ");
    let either = ["docker compose ", "docker-compose "];
    let arguments = either.iter().find_map(|compose| command.strip_prefix(compose));
    let command = arguments.map_or(command.to_owned(), |words| format!("compose {words}"));
    let command: Vec<&str> = command.split_whitespace().collect();
    tests.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.windows(command.len()).enumerate().any(|(place, window)| {
            let next = words.get(place + command.len());
            window == command && next.is_none_or(|next| *next == "-d" || ENDS.contains(next))
        })
    })
}

#[track_caller]
fn is_tried(readme: &str, typed: &Typed) {
    let Typed { line, text } = typed;
    let place = format!("{readme}:{line}: {text}");
    let makefile = page("Makefile");
    match typed.known_way(readme) {
        Way::Docker => {
            assert!(docker_tests_run(text), "{place}: tests/docker/run.sh does not run it");
        }
        Way::Make => {
            let targets = text.strip_prefix("make").expect("it was known by that");
            for target in targets.split_whitespace() {
                let rule = format!("{target}:");
                assert!(makefile.lines().any(|line| line.starts_with(&rule)), "{place}: no target");
            }
        }
        Way::InMakefile => {
            let command: Vec<&str> = text.split(' ').take(3).collect();
            let command = command.join(" ");
            let (_, check) = makefile.split_once("\ncheck:").expect("what has to pass");
            let check = check.split("\n\n").next().expect("a split has a first part");
            assert!(check.contains(&command), "{place}: `make check` does not");
        }
        // The reader's walk runs them where they stand in a block.
        Way::Server | Way::Client | Way::Python | Way::Run => {}
    }
}

#[test]
fn commands_that_the_walk_leaves_out_are_run_by_make_or_by_the_tests_of_docker() {
    for readme in [ENGLISH, SPANISH] {
        let page = page(readme);
        for (commands, _) in walk(&page) {
            for typed in commands {
                is_tried(readme, &typed);
            }
        }
        for (line, text) in code_spans(&page) {
            let typed = Typed { line, text };
            let first = typed.text.split(' ').next().expect("a split has a first part");
            let is_command = typed.text.contains(' ')
                && ["cargo", "docker", "docker-compose", "make", "python3"].contains(&first);
            if is_command || first == "make" {
                is_tried(readme, &typed);
            }
        }
    }
}

/// A line of the table of settings.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    key: String,
    variable: String,
    /// What the cell has, code and words.
    flag: String,
    /// Without backquotes.
    default: String,
}

fn table(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, key, variable, flag, default, _] = &cells[..] else { continue };
        let code = |cell: &str| Some(cell.strip_prefix('`')?.split('`').next()?.to_owned());
        let Some(key) = code(key).filter(|key| key.contains('.') && key != "config.toml") else {
            continue;
        };
        let variable = code(variable).expect("each setting has a variable");
        let (flag, default) = ((*flag).to_owned(), default.replace('`', ""));
        rows.push(Row { key, variable, flag, default });
    }
    rows
}

/// The keys of `config.toml` in its order, those that are commented out too, with their values as the README
/// writes them.
fn settings_of_the_file() -> Vec<(String, String)> {
    let (mut settings, mut section) = (Vec::new(), String::new());
    for line in page("config.toml").lines() {
        let (line, is_comment) = match line.strip_prefix("# ") {
            Some(line) => (line, true),
            None => (line, false),
        };
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        }
        let Some((key, value)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
        else {
            continue;
        };
        let value = if is_comment { "none".to_owned() } else { value.replace('"', "") };
        settings.push((format!("{section}.{key}"), value));
    }
    settings
}

#[test]
fn the_table_of_settings_is_that_of_the_code_and_of_config_toml() {
    let (rows, in_file) = (table(&page(ENGLISH)), settings_of_the_file());
    for ((row, setting), (key, value)) in rows.iter().zip(SETTINGS).zip(&in_file) {
        assert_eq!((row.key.as_str(), row.variable.as_str()), (setting.key, setting.variable));
        assert_eq!(key, setting.key, "config.toml has its keys in another order than the table");
        // A cell of more than code is about a flag that is no setting of its own.
        let flag = row.flag.strip_prefix('`').and_then(|flag| flag.strip_suffix('`'));
        assert_eq!(flag.unwrap_or(""), setting.flag, "the flag of {key}");
        let in_readme = row.default.split(": ").next().expect("a split has a first part");
        match setting.default {
            Fallback::Value(default) => {
                assert_eq!(row.default, default, "the default of {key}");
                // The level is commented out, so that a terminal may show less.
                assert!(value == default || key == "log.level", "the default of {key}: {value}");
            }
            Fallback::Nothing(_) => {
                assert_eq!((in_readme, value.as_str()), ("none", "none"), "the default of {key}");
            }
        }
    }
    assert_eq!((rows.len(), in_file.len()), (SETTINGS.len(), SETTINGS.len()));
}

#[test]
fn config_toml_holds_the_defaults() {
    let none = |_: &str| None;
    for program in [config::Program::Server, config::Program::Client] {
        let read = |file: &Path| {
            let config = Config::read(program, Some(file), none, none);
            config.and_then(|config| config.log_parts()).expect("valid settings")
        };
        assert_eq!(read(&root().join("config.toml")), read(Path::new("/dev/null")));
    }
}

#[test]
fn config_toml_says_the_range_of_each_number() {
    let file = page("config.toml");
    for setting in SETTINGS {
        let Kind::Number(least, most) = setting.kind else { continue };
        let (_, key) = setting.key.split_once('.').expect("a key has a section");
        let (before, _) = file.split_once(&format!("{key} = ")).expect("the key is there");
        let lines = before.lines().rev().skip_while(|line| *line == "# ");
        let comment: Vec<&str> = lines.take_while(|line| line.starts_with('#')).collect();
        let range = format!("{least} to {most}");
        assert!(comment.concat().contains(&range), "{}: no {range}", setting.key);
    }
}

/// The flags that `--help` of this program names.
fn flags_of(program: &str) -> BTreeSet<String> {
    let mut command = Command::new(program);
    command.arg("--help");
    let help = run(command);
    help.exits(0);
    flags_in(&help.stdout)
}

fn flags_in(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = text.split(|c: char| !is_word(c));
    let flags = words.filter(|word| word.len() > 3 && word.starts_with("--"));
    flags.filter(|flag| flag[2..].starts_with(char::is_alphabetic)).map(str::to_owned).collect()
}

#[test]
fn each_flag_of_the_programs_is_in_the_readme_and_no_other() {
    let programs = [env!("CARGO_BIN_EXE_server"), env!("CARGO_BIN_EXE_client")].map(flags_of);
    let known: BTreeSet<String> = programs.into_iter().flatten().collect();
    let self_explaining = ["--help", "--version"].map(str::to_owned);
    for readme in [ENGLISH, SPANISH] {
        let page = page(readme);
        let named = flags_in(&page);
        for flag in known.iter().filter(|flag| !self_explaining.contains(flag)) {
            assert!(named.contains(flag), "{readme} does not name {flag}");
        }
        for (line, span) in code_spans(&page).iter().filter(|(_, span)| span.starts_with("--")) {
            for flag in flags_in(span) {
                assert!(known.contains(&flag), "{readme}:{line}: no program knows {flag}");
            }
        }
    }
}

/// The targets of the links and pictures of a page, with their lines.
fn links(page: &str) -> Vec<(usize, String)> {
    let prose = prose(page);
    let mut links = Vec::new();
    for (place, _) in prose.match_indices("](") {
        let line = prose[..place].matches('\n').count() + 1;
        let target = prose[place + 2..].split(')').next().expect("a split has a first part");
        links.push((line, target.to_owned()));
    }
    links
}

/// The name that a heading is linked by.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = letters.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut pages: Vec<String> =
        [ENGLISH, SPANISH, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
            .map(str::to_owned)
            .to_vec();
    for entry in fs::read_dir(root().join("docs")).expect("the docs") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        pages.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    for path in &pages {
        for (line, link) in links(&page(path)) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, part) = link.split_once('#').unwrap_or((&link, ""));
            let directory = Path::new(path).parent().expect("a page is in a directory");
            let target = if file.is_empty() { path.into() } else { directory.join(file) };
            assert!(root().join(&target).exists(), "{path}:{line}: there is no {file}");
            if !part.is_empty() {
                let text = page(target.to_str().expect("a path in UTF-8"));
                let prose = prose(&text);
                let mut headings = prose.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|line| anchor(line) == part), "{path}:{line}: no #{part}");
            }
        }
    }
}

#[test]
fn paths_of_the_project_that_the_pages_name_exist() {
    for readme in [ENGLISH, SPANISH, "docs/promises.md", "CONTRIBUTING.md"] {
        for (line, span) in code_spans(&page(readme)) {
            let directory = span.split_once('/').map_or("", |(directory, _)| directory);
            let ours = ["src", "tests", "docs", "examples", "scripts", "benches", "agencies"];
            if ours.contains(&directory) && !span.contains([' ', '*']) {
                assert!(root().join(&span).exists(), "{readme}:{line}: there is no {span}");
            }
        }
    }
}

/// Fails with the first difference of the two pages.
#[track_caller]
fn hold_equal(what: &str, spanish: &[String], english: &[String]) {
    for (place, english) in english.iter().enumerate() {
        let spanish = spanish.get(place).map_or("nothing", String::as_str);
        assert_eq!(spanish, english, "{SPANISH} and {ENGLISH} differ in {what} {}", place + 1);
    }
    let more = &spanish[english.len()..];
    assert!(more.is_empty(), "{ENGLISH} has no such {what}: {more:?}");
}

#[test]
fn the_spanish_page_has_the_same_commands_output_settings_links_and_sections() {
    let (english, spanish) = (page(ENGLISH), page(SPANISH));
    let hold = |what: &str, of: &dyn Fn(&str) -> Vec<String>| {
        hold_equal(what, &of(&spanish), &of(&english));
    };
    hold("section or line of a list or of a table", &|page| {
        let begin = |line: &str| line.split([' ', '`']).next().unwrap_or("").to_owned();
        let prose = prose(page);
        prose.lines().filter(|line| line.starts_with(['#', '|', '*'])).map(begin).collect()
    });
    hold("command", &|page| {
        let commands = walk(page).into_iter().flat_map(|(commands, _)| commands);
        commands.map(|typed| typed.text).collect()
    });
    hold("line that is shown", &|page| {
        let shown = blocks(page).into_iter().filter(|block| block.kind != "sh");
        shown.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    });
    hold("setting", &|page| {
        let row = |row: Row| {
            let Row { key, variable, flag, default } = row;
            // Words are in the page's own language.
            let flag = flag.rsplit_once('`').map_or("", |(code, _)| code);
            let default = default.split(": ").next().unwrap_or("").replace("ninguna", "none");
            format!("{key} {variable} {flag} {default}")
        };
        table(page).into_iter().map(row).collect()
    });
    hold("link", &|page| {
        let links = links(page).into_iter().map(|(_, link)| link);
        links.filter(|link| ![ENGLISH, SPANISH].contains(&link.as_str())).collect()
    });
}

#[test]
fn a_command_that_nobody_knows_is_noticed() {
    let block = |text: &str| Block { line: 7, kind: "sh".into(), text: text.into() };
    let typed = |text: &str| Typed { line: 7, text: text.into() };
    let commands = Typed::all_of(&block("A=1 B='x y' \\\n    make check # all\n\n# nothing\nls"));
    assert_eq!(commands, [typed("A=1 B='x y' make check"), Typed { line: 11, text: "ls".into() }]);
    assert_eq!(commands[0].way(), Some(Way::Make));
    assert_eq!(commands[1].way(), None);
    assert_eq!(typed("makeup").way(), None);
    assert_eq!(typed("cargo run --release --bin server -- --new-draw").way(), Some(Way::Server));
    assert!(matches("a … c…", "a b c d") && matches("…x", "axbx") && !matches("a … c", "a b d"));
}
