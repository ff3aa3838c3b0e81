//! At stake: what an operator installs and pastes. The metrics must be those of the status, the lines for cron in
//! `docs/operations.md` must work as they stand, the unit must be one that systemd takes, and the version must be
//! the same wherever it is written. `tests/docker/run.sh` builds and installs the package itself.

use super::pages::{page, root, tool};
use crate::support::program::{Start, lasting_address, run, skipped};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

/// The metrics of a status; nothing without python3.
#[track_caller]
fn metrics_of(status: &str) -> Option<String> {
    let output = converted(status)?;
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// How the conversion of a status ends; nothing without python3.
fn converted(status: &str) -> Option<Output> {
    if tool("python3").is_none() {
        skipped("packaging/loteria-metrics", "python3");
        return None;
    }
    let mut command = Command::new(root().join("packaging/loteria-metrics"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = command.spawn().expect("it starts");
    let mut stdin = program.stdin.take().expect("a pipe");
    stdin.write_all(status.as_bytes()).expect("it reads");
    drop(stdin);
    Some(program.wait_with_output().expect("it ends"))
}

/// The samples, without what is said about them.
fn samples(metrics: &str) -> Vec<&str> {
    metrics.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn what_is_not_a_status_is_an_error_on_one_line() {
    for text in ["x", "{}", "[]", "5", r#"{"draw":"held","winners":1,"agencies":[5]}"#] {
        let Some(output) = converted(text) else { return };
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{text}");
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(error.starts_with("loteria-metrics: stdin is not what "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_status_becomes_metrics() {
    let status = r#"{"draw":"pending","winners":null,"bets":5,"agencies":[
        {"agency":1,"bets":3,"state":"waiting"},{"agency":2,"bets":2,"state":"open"}]}"#;
    let Some(metrics) = metrics_of(status) else { return };
    assert_eq!(
        samples(&metrics),
        [
            "loteria_up 1",
            "loteria_draw_held 0",
            r#"loteria_bets{agency="1"} 3"#,
            r#"loteria_bets{agency="2"} 2"#,
            r#"loteria_agency_state{agency="1",state="open"} 0"#,
            r#"loteria_agency_state{agency="1",state="finished"} 0"#,
            r#"loteria_agency_state{agency="1",state="waiting"} 1"#,
            r#"loteria_agency_state{agency="2",state="open"} 1"#,
            r#"loteria_agency_state{agency="2",state="finished"} 0"#,
            r#"loteria_agency_state{agency="2",state="waiting"} 0"#,
        ]
    );
    // The collector refuses a file in which a metric has no type.
    for sample in samples(&metrics) {
        let name = sample.split(['{', ' ']).next().expect("a split has a first part");
        assert!(metrics.contains(&format!("# TYPE {name} gauge\n")), "{name}");
    }
}

/// The command of the line for cron in `docs/operations.md` that has this text.
fn cron_line(text: &str) -> String {
    let operations = page("docs/operations.md");
    let mut lines = operations
        .lines()
        .filter(|line| line.starts_with("    */5 *") || line.starts_with("    * *"));
    let line = lines.find(|line| line.contains(text)).expect("the line is there");
    line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ")
}

/// A shell that runs lines of `docs/operations.md`: the programs have their installed names, and the directories of the
/// machine are in `scratch`.
fn shell(lines: &str, scratch: &Path) -> Command {
    let bin = scratch.join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).expect("a new directory");
        let metrics = root().join("packaging/loteria-metrics");
        for (name, program) in [
            ("loteria-client", Path::new(env!("CARGO_BIN_EXE_client"))),
            ("loteria-server", Path::new(env!("CARGO_BIN_EXE_server"))),
            ("loteria-metrics", &metrics),
        ] {
            symlink(program, bin.join(name)).expect("a link");
        }
    }
    // Each of them may have a space in its name.
    let quoted = |path: &Path| format!("'{}'", path.display());
    let lines = lines
        .replace("/var/lib/prometheus/node-exporter", &quoted(scratch))
        .replace("/var/lib/loteria", &quoted(&scratch.join("lottery")))
        .replace("\"/backup/", &format!("\"{}/", scratch.join("backup").display()))
        .replace("/etc/loteria", &quoted(root()));
    let mut command = Command::new("sh");
    let path = std::env::var("PATH").expect("a PATH");
    command.args(["-c", &lines]).current_dir(scratch);
    command.env("PATH", format!("{}:{path}", bin.display())).env("TMPDIR", scratch);
    command
}

#[test]
fn the_lines_for_cron_tell_a_server_that_answers_from_one_that_does_not() {
    let scratch = scratch();
    let address = lasting_address();
    let mut server = Command::new(env!("CARGO_BIN_EXE_server"));
    server.args(["--address", &address, "--agencies", "2"]).current_dir(scratch.path());
    let server = Start::of(server).start();
    server.logs("action: accept_connections | result: in_progress");

    let alert = cron_line(">/dev/null");
    let metrics = cron_line("loteria-metrics").strip_prefix("root ").map(str::to_owned);
    let metrics = metrics.expect("a line of /etc/cron.d names its user");
    let ask = |line: &str| {
        let mut command = shell(line, scratch.path());
        command.env("CLI_SERVER_ADDRESS", &address);
        run(command)
    };
    let collected = || fs::read_to_string(scratch.path().join("loteria.prom")).expect("the file");

    let quiet = ask(&alert);
    quiet.exits(0).prints("");
    assert_eq!(quiet.stderr.concat(), "", "cron would mail it");
    let has_python = tool("python3").is_some();
    if has_python {
        ask(&metrics).exits(0).prints("");
        assert_eq!(samples(&collected())[..2], ["loteria_up 1", "loteria_draw_held 0"]);
        assert!(collected().contains("loteria_bets{agency=\"2\"} 0\n"));
    } else {
        skipped("the line for Prometheus", "python3");
    }

    server.stops_quietly();
    ask(&alert).says("check that a server runs there");
    if has_python {
        ask(&metrics).exits(0).prints("");
        assert_eq!(samples(&collected()), ["loteria_up 0"]);
    }
}

#[test]
fn every_backup_of_the_page_passes_the_drill_of_the_page() {
    let operations = page("docs/operations.md");
    let (_, section) = operations.split_once("## Backup and restore").expect("the section");
    let commands: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("    ")).take(4).collect();
    let serve = "--address 127.0.0.1:0 --log-level info";
    let commands = commands.join("\n");
    assert!(commands.contains(serve), "{commands}");
    let scratch = scratch();
    for directory in ["lottery", "backup"] {
        fs::create_dir(scratch.path().join(directory)).expect("a new directory");
    }
    let types = |text: &str| {
        let mut command = shell(text, scratch.path());
        command.env("AGENCIES", "1");
        run(command)
    };
    let address = lasting_address();
    let serves = || {
        let mut server = Command::new(env!("CARGO_BIN_EXE_server"));
        server.args(["--address", &address, "--agencies", "1"]);
        server.current_dir(scratch.path().join("lottery"));
        let server = Start::of(server).start();
        server.logs("action: accept_connections | result: in_progress");
        server
    };
    let drill = || {
        let verified = types(&commands.replace(serve, "--verify"));
        verified.exits(0);
        verified.stdout
    };

    fs::write(scratch.path().join("agency-1.csv"), "Ana,Luna,1234567,2000-02-29,7574\n")
        .expect("a new file");
    let server = serves();
    types(&format!("loteria-client --server {address} --agency 1 --file agency-1.csv")).exits(0);
    assert!(drill().contains("1 winner"), "the draw was held");
    server.stops_quietly();
    types("cd /var/lib/loteria && loteria-server --new-draw").exits(0);
    let server = serves();
    assert!(!drill().contains("1 winner"), "the draw is still to be held");
    server.stops_quietly();
}

#[test]
fn make_builds_where_its_rules_look_whatever_the_target_directory_is() {
    if tool("make").is_none() {
        skipped("Makefile", "make");
        return;
    }
    let scratch = scratch();
    let cargo = scratch.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\necho \"$1 in $CARGO_TARGET_DIR\"\n").expect("a new file");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("a file of the test's");
    let path = std::env::var("PATH").expect("a PATH");
    let mut make = Command::new("make");
    make.args(["-s", "-o", "completions", "-o", "man", "build", "deb"]).current_dir(root());
    make.env("PATH", format!("{}:{path}", scratch.path().display()));
    make.env("CARGO_TARGET_DIR", scratch.path());
    // With `-j` in it the targets would have no order.
    make.env_remove("MAKEFLAGS");
    run(make).exits(0).prints("build in target\ndeb in target\n");
}

#[test]
fn systemd_takes_the_unit_and_finds_it_little_exposed() {
    let unit = "packaging/loteria-server.service";
    if tool("systemd-analyze").is_none() {
        skipped(unit, "systemd-analyze");
        return;
    }
    // A program of that name is not installed here.
    let scratch = scratch();
    let copy = scratch.path().join("loteria-server.service");
    let text = page(unit).replace("/usr/bin/loteria-server", "/bin/true");
    fs::write(&copy, text).expect("a new file");
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).arg(&copy);
        run(command)
    };
    let verified = analyze(&["verify", "--man=no"]);
    verified.exits(0);
    assert_eq!(verified.stderr.concat(), "", "a warning");
    let security = analyze(&["security", "--offline=true", "--no-pager", "--threshold=15"]);
    if security.count("unrecognized option") > 0 {
        skipped("the exposure of the unit", "systemd 250 or later");
    } else {
        security.exits(0);
    }
}

/// All sources, with literals that go on in the next line in one piece.
fn sources(directory: &Path) -> String {
    let mut sources = String::new();
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources += &self::sources(&path);
        } else {
            let text = fs::read_to_string(&path).expect("a source in UTF-8");
            let mut lines = text.split("\\\n");
            sources += lines.next().expect("a split has a first part");
            sources.extend(lines.map(str::trim_start));
        }
    }
    sources
}

#[test]
fn each_message_that_is_explained_is_one_of_the_programs() {
    let (operations, sources) = (page("docs/operations.md"), sources(&root().join("src")));
    let (_, table) = operations.split_once("## Messages and what to do").expect("the section");
    let (table, _) = table.split_once("\n## ").expect("another section behind it");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let cell = row.replace("\\|", "\u{1}");
        let cell = cell.split('|').nth(1).expect("a first cell").replace('\u{1}', "|");
        for message in cell.split('`').skip(1).step_by(2) {
            assert!(sources.contains(message), "docs/operations.md: no program says {message:?}");
        }
    }
}

#[test]
fn the_version_is_the_same_wherever_it_is_written() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = page("CHANGELOG.md");
    let newest = changelog.lines().find(|line| line.starts_with("## ")).expect("a version");
    assert!(newest.starts_with(&format!("## [{version}]")), "CHANGELOG.md: {newest}");
    let package = format!("loteria_{version}-1_");
    assert!(page("docs/operations.md").contains(&package), "docs/operations.md: no {package}");
}
