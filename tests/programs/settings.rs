//! At stake: that whoever starts a program gets the settings that they gave, or is told which of them is
//! wrong and where it stands; and that the log lines that other people's programs read keep their shape.

use crate::sample::five_agencies;
use crate::support::peer::Peer;
use crate::support::program::{Ended, Program, Scratch, Start};
use loteria::config::{self, Fallback, Kind, SETTINGS, Setting};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// Values of a setting of the table.
struct Case {
    key: &'static str,
    /// Three that are not the default, as they stand in `config.toml`.
    valid: [&'static str; 3],
    /// Texts that are refused from everywhere, as they stand in a variable.
    invalid: &'static [&'static str],
}

const TEXTS: &[&str] = &["abc", "1.5", "1e3", "-", "0x10", " 7", "99999999999999999999"];
const SWITCHES: &[&str] = &["yes", "1", "TRUE", "abc", " true"];
const ADDRESSES: &[&str] =
    &["localhost", "127.0.0.1", "127.0.0.1:", ":12345", "127.0.0.1:65536", "127.0.0.1:-1", "x:y"];
const PORTS: &[&str] = &["localhost:0", "127.0.0.1:00", "[::1]:0", "127.0.0.1:65536", "x:y"];
const TIMES: &[&str] = &["0", "-1", "86400001"];

#[rustfmt::skip]
const CASES: [Case; 16] = [
    Case { key: "lottery.agencies", valid: ["1", "10000", "7"], invalid: &["0", "-1", "10001", "65536", "65541"] },
    Case { key: "lottery.winning_number", valid: ["0", "9999", "1"], invalid: &["-1", "10000", "65536"] },
    Case { key: "server.address", valid: ["\"127.0.0.1:0\"", "\"localhost:0\"", "\"0.0.0.0:0\""], invalid: ADDRESSES },
    Case { key: "server.max_connections", valid: ["1", "65535", "7"], invalid: &["0", "-1", "65536"] },
    Case { key: "server.message_timeout_ms", valid: ["1", "86400000", "7"], invalid: TIMES },
    Case { key: "server.newcomer_timeout_ms", valid: ["1", "86400000", "7"], invalid: TIMES },
    Case { key: "server.exit_after_draw", valid: ["true", "true", "true"], invalid: SWITCHES },
    Case { key: "client.server_address", valid: ["\"127.0.0.1:1\"", "\"localhost:1\"", "\"[::1]:1\""], invalid: PORTS },
    Case { key: "client.id", valid: ["1", "10000", "7"], invalid: &["0", "-1", "10001", "65536"] },
    Case { key: "client.batch_max_amount", valid: ["1", "1000000", "7"], invalid: &["0", "-1", "1000001", "4294967297"] },
    Case { key: "client.batch_period_ms", valid: ["1", "86400000", "7"], invalid: &["-1", "86400001"] },
    Case { key: "client.window", valid: ["1", "4096", "7"], invalid: &["0", "-1", "4097"] },
    Case { key: "client.resume", valid: ["false", "false", "false"], invalid: SWITCHES },
    Case { key: "client.reply_timeout_ms", valid: ["1", "86400000", "7"], invalid: TIMES },
    Case { key: "client.retry_for_ms", valid: ["0", "86400000", "7"], invalid: &["-1", "86400001"] },
    Case { key: "client.agencies_dir", valid: ["\"d1\"", "\"d2\"", "\"d 3\""], invalid: &[] },
];

impl Case {
    fn setting(&self) -> &'static Setting {
        SETTINGS.iter().find(|setting| setting.key == self.key).expect("a setting of the table")
    }

    fn is_of_the_server(&self) -> bool {
        self.setting().programs == [config::Program::Server]
    }

    /// The flag without its value, if it takes one.
    fn flag(&self) -> Option<&'static str> {
        let (flag, _) = self.setting().flag.split_once(' ')?;
        Some(flag)
    }

    /// The text of the invalid ones of its kind, too.
    fn all_invalid(&self) -> impl Iterator<Item = &'static str> {
        let is_number = matches!(self.setting().kind, Kind::Number(..));
        self.invalid.iter().chain(TEXTS.iter().filter(move |_| is_number)).copied()
    }

    /// A program in whose scratch directory there is something to start with.
    fn program(&self, scratch: &Scratch) -> Start {
        if self.is_of_the_server() {
            // A directory in the place of the bets: it ends by itself as soon as it is configured.
            fs::create_dir_all(scratch.path("bets.csv")).expect("a directory");
            return scratch.bare_server();
        }
        for directory in ["agencies", "d1", "d2", "d 3"] {
            scratch.write(&format!("{directory}/agency-1.csv"), "bad line");
        }
        scratch.bare_client()
    }

    fn in_file(&self, scratch: &Scratch, value: &str) {
        let (section, key) = self.key.split_once('.').expect("a section and a key");
        scratch.write("config.toml", format!("# A comment.\n[{section}]\n{key} = {value}\n"));
    }
}

/// What a TOML value reads as in a variable or a flag.
fn bare(value: &str) -> &str {
    value.trim_matches('"')
}

#[track_caller]
fn assert_shown(ended: &Ended, case: &Case, value: &str) {
    let line = ended.stderr.iter().find(|line| line.contains("action: config | result: success"));
    let line = line.unwrap_or_else(|| panic!("not configured: {ended}"));
    let key = case.key.split_once('.').map_or("", |(_, key)| key);
    let shown = if case.key == "client.id" { "client_id" } else { key };
    let part = format!(" | {shown}: {value}");
    let shown = line.trim_end().split_once(&part).map(|(_, rest)| rest);
    assert!(shown.is_some_and(|rest| rest.is_empty() || rest.starts_with(" | ")), "{part}: {line}");
}

#[test]
fn each_setting_with_a_range_or_a_switch_has_its_case_here() {
    let paths_and_level = |setting: &&Setting| !matches!(setting.kind, Kind::Path | Kind::Level);
    for setting in SETTINGS.iter().filter(paths_and_level) {
        assert!(CASES.iter().any(|case| case.key == setting.key), "{}", setting.key);
    }
}

#[test]
fn a_flag_beats_a_variable_that_beats_the_file_that_beats_the_default() {
    for case in &CASES {
        let (scratch, setting) = (Scratch::new(), case.setting());
        // The default address may be in use here, which is of no importance: nobody gets that far.
        let [in_file, variable, flag] = case.valid;
        let (Fallback::Value(default) | Fallback::Nothing(default)) = setting.default;
        if case.key != "server.address" {
            let ended = case.program(&scratch).variable("SERVER_ADDRESS", "127.0.0.1:0").run();
            assert_shown(&ended, case, default);
        }
        let program = || {
            let program = case.program(&scratch);
            let port = case.is_of_the_server() && case.key != "server.address";
            if port { program.variable("SERVER_ADDRESS", "127.0.0.1:0") } else { program }
        };
        case.in_file(&scratch, in_file);
        assert_shown(&program().run(), case, bare(in_file));
        let empty = program().variable(setting.variable, "");
        assert_shown(&empty.run(), case, bare(in_file));
        let with_variable = || program().variable(setting.variable, bare(variable));
        assert_shown(&with_variable().run(), case, bare(variable));
        if let Some(name) = case.flag() {
            let with_flag = with_variable().arguments(&[name, bare(flag)]);
            assert_shown(&with_flag.run(), case, bare(flag));
        }
    }
}

#[test]
fn the_default_address_is_where_the_documentation_says() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("bets.csv")).expect("a directory");
    scratch.bare_server().run().says("address: 127.0.0.1:12345 | ");
    scratch.write("agencies/agency-1.csv", "bad line");
    scratch.bare_client().run().says("server_address: 127.0.0.1:12345 | ");
}

#[test]
fn the_files_of_the_server_have_a_key_a_variable_and_a_flag() {
    let scratch = Scratch::new();
    for name in ["file.csv", "variable.csv", "flag.csv"] {
        fs::create_dir(scratch.path(name)).expect("a directory");
    }
    scratch.write("config.toml", "[storage]\nbets = \"file.csv\"\ndraw = \"file.toml\"\n");
    let server = || scratch.server();
    server().run().exits(1).says("bets: file.csv | draw: file.toml").says("error: file.csv: ");
    let by_variable =
        || server().variables(&[("BETS_FILE", "variable.csv"), ("DRAW_FILE", "variable.toml")]);
    by_variable().run().exits(1).says("bets: variable.csv | draw: variable.toml");
    let by_flag = by_variable().arguments(&["--bets", "flag.csv", "--draw", "flag.toml"]);
    by_flag.run().exits(1).says("bets: flag.csv | draw: flag.toml").says("error: flag.csv: ");
    server()
        .arguments(&["--draw", ""])
        .run()
        .exits(2)
        .says("error: --draw: must name a file or a directory, not \"\"");
}

#[test]
fn a_value_out_of_range_is_refused_from_everywhere_by_the_name_that_it_was_given_under() {
    for case in &CASES {
        let (scratch, setting) = (Scratch::new(), case.setting());
        for value in case.all_invalid() {
            scratch.write("config.toml", "");
            let by_variable = case.program(&scratch).variable(setting.variable, value).run();
            refused(&by_variable, &format!("{}: must be ", setting.variable), value);
            if let Some(name) = case.flag() {
                let by_flag = case.program(&scratch).arguments(&[name, value]);
                refused(&by_flag.run(), &format!("{name}: must be "), value);
            }
            // In the file numbers are numbers; texts are of the wrong type, which is another test.
            let is_address = matches!(setting.kind, Kind::Address(_));
            let in_file = if is_address { format!("\"{value}\"") } else { value.to_owned() };
            if is_address || value.parse::<i64>().is_ok() && setting.kind != Kind::Switch {
                case.in_file(&scratch, &in_file);
                for program in [scratch.bare_server(), scratch.bare_client()] {
                    refused(
                        &program.run(),
                        &format!("config.toml:3: {}: must be ", case.key),
                        value,
                    );
                }
            }
        }
    }
}

#[track_caller]
fn refused(ended: &Ended, start: &str, value: &str) {
    ended.exits(2);
    let expected = format!("ERROR action: config | result: fail | error: {start}");
    assert!(ended.last().contains(&expected), "not {start:?}: {ended}");
    assert!(ended.last().contains(&format!("not \"{value}\"")), "{ended}");
    assert_eq!(ended.stderr.len(), 1, "{ended}");
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_line() {
    let others = ["\"text\"", "1", "1.5", "true", "[1]", "{}", "2024-01-02"];
    for case in &CASES {
        let (right, rule) = match case.setting().kind {
            Kind::Number(..) => ("1", "must be a number from "),
            Kind::Switch => ("true", "must be true or false"),
            _ => ("\"text\"", "must "),
        };
        for value in others.into_iter().filter(|value| *value != right) {
            let scratch = Scratch::new();
            case.in_file(&scratch, value);
            let why = format!("error: config.toml:3: {}: {rule}", case.key);
            case.program(&scratch).run().exits(2).says(&why);
        }
    }
    let scratch = Scratch::new();
    scratch.write("config.toml", "[lottery]\nagencies = \"five\"\n");
    let why = "config.toml:2: lottery.agencies: must be a number from 1 to 10000, not \"five\"";
    scratch.server().run().exits(2).says(why);
    for (key, value, rule) in [
        ("lottery.agencies", "5", "a number from 1 to 10000"),
        ("client.resume", "false", "true or false"),
    ] {
        let scratch = Scratch::new();
        scratch.write("config.toml", format!("{key} = \"{value}\""));
        let why = format!("config.toml:1: {key}: must be {rule} without quotes, not \"{value}\"");
        scratch.server().run().exits(2).says(&why);
    }
    let scratch = Scratch::new();
    scratch.write("config.toml", "lottery = 5\n");
    scratch.server().run().exits(2).says("error: config.toml:1: lottery: must be a section");
    for (key, value) in [("log.level", "1"), ("storage.bets", "true"), ("storage.draw", "[]")] {
        let scratch = Scratch::new();
        scratch.write("config.toml", format!("{key} = {value}"));
        scratch.server().run().exits(2).says("error: config.toml:1: ");
    }
}

#[test]
fn a_flag_or_a_variable_does_not_hide_an_error_of_the_file() {
    let scratch = Scratch::new();
    scratch.write("config.toml", "[lottery]\nagencies = 0\n[storage]\nbets = \"\"\n");
    let hidden = scratch.server().arguments(&["--agencies", "3"]).variable("BETS_FILE", "b.csv");
    hidden.run().exits(2).says("error: config.toml:2: lottery.agencies: must be a number");
    scratch.write("config.toml", "[storage]\nbets = \"\"\n");
    let why = "error: config.toml:2: storage.bets: must name a file";
    scratch.bare_client().run().exits(2).says(why);
}

#[test]
fn tls_needs_all_of_its_files_and_a_program_that_was_built_with_it() {
    let scratch = Scratch::new();
    let files = ["TLS_CERTIFICATE", "TLS_KEY", "TLS_AUTHORITY"].map(|name| (name, "missing.pem"));
    let why =
        if cfg!(feature = "tls") { "missing.pem: " } else { "this program was built without" };
    for start in [Scratch::server, |scratch: &Scratch| scratch.client("127.0.0.1:1")] {
        let all = start(&scratch).variables(&files).run();
        all.exits(2).says(&format!("action: config | result: fail | error: tls: {why}"));
        let two = start(&scratch).variables(&files[..2]).run();
        two.exits(2).says("error: tls: also needs tls.authority (TLS_AUTHORITY)");
        scratch.write("tls.toml", "[tls]\nkey = \"missing.pem\"\n");
        let one = start(&scratch).arguments(&["--config", "tls.toml"]).run();
        one.exits(2).says("also needs tls.certificate (TLS_CERTIFICATE) and tls.authority");
    }
    assert_eq!(scratch.names(), ["tls.toml"]);
}

#[test]
fn a_key_that_nobody_knows_is_refused_by_both_programs_with_its_name_and_line() {
    let cases = [
        ("surprise = 1\n", "1", "key or section surprise"),
        ("[surprise]\n", "1", "surprise"),
        ("[server]\n\nport = 1\n", "3", "port"),
        ("[client]\nbatch_max_amounts = 1\n", "2", "batch_max_amounts"),
        ("[log]\nlevel = \"info\"\nfile = \"x\"\n", "3", "file"),
        ("[storage]\nBets = \"x\"\n", "2", "Bets"),
    ];
    for (text, line, name) in cases {
        let scratch = Scratch::new();
        scratch.write("config.toml", text);
        for program in [scratch.server(), scratch.bare_client()] {
            let ended = program.run();
            ended.exits(2).says(&format!("error: config.toml:{line}: ")).says(name);
            assert_eq!(ended.stderr.len(), 1, "{ended}");
            assert_eq!(ended.last().matches(" | ").count(), 2, "values have no bars: {ended}");
        }
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line() {
    for (text, line) in [("[server\n", "1"), ("\n\n= 1\n", "3"), ("[log]\n[log]\n", "2")] {
        let scratch = Scratch::new();
        scratch.write("some.toml", text);
        let ended = scratch.server().arguments(&["--config", "some.toml"]).run();
        ended.exits(2).says(&format!("error: some.toml:{line}: "));
        assert_eq!(ended.last().matches(" | ").count(), 2, "values have no bars: {ended}");
    }
    let scratch = Scratch::new();
    scratch.write("config.toml", b"[log]\nlevel = \"\xff\"\n");
    scratch.server().run().exits(2).says("error: config.toml: ").says("UTF-8");
}

#[test]
fn a_file_that_was_named_has_to_be_readable_and_is_read_instead_of_the_other() {
    let scratch = Scratch::new();
    scratch.write("config.toml", "surprise = 1\n");
    scratch.write("other.toml", "[lottery]\nagencies = 0\n");
    for program in [scratch.server(), scratch.bare_client()] {
        let ended = program.arguments(&["--config", "missing.toml"]).run();
        ended.exits(2).says("error: missing.toml: ");
    }
    for program in [scratch.server(), scratch.bare_client()] {
        let other = program.arguments(&["--config", "other.toml"]).run();
        other.exits(2).says("error: other.toml:2: lottery.agencies: must be ");
    }
    fs::create_dir(scratch.path("directory")).expect("a directory");
    let directory = scratch.server().arguments(&["--config", "directory"]).run();
    directory.exits(2).says("error: directory: ");
}

#[test]
fn a_file_that_is_there_and_cannot_be_read_is_refused() {
    let scratch = Scratch::new();
    scratch.write("config.toml", "");
    let path = scratch.path("config.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("permissions");
    if fs::read(&path).is_ok() {
        // Whoever runs this may read everything.
        fs::remove_file(&path).expect("it can be removed");
        fs::create_dir(&path).expect("a directory");
    }
    scratch.server().run().exits(2).says("error: config.toml: ");
}

#[test]
fn a_link_to_no_file_is_not_taken_for_no_file() {
    let scratch = Scratch::new();
    std::os::unix::fs::symlink("elsewhere.toml", scratch.path("config.toml")).expect("a link");
    for program in [scratch.server(), scratch.bare_client()] {
        let ended = program.run();
        ended.exits(2).says("error: config.toml: ").says("a symbolic link to elsewhere.toml");
    }
    scratch.write("elsewhere.toml", "surprise = 1\n");
    scratch.server().run().exits(2).says("error: config.toml:1: ");
}

#[test]
fn the_file_with_all_defaults_is_accepted_by_both() {
    let scratch = Scratch::new();
    let text = include_str!("../../config.toml").replacen("127.0.0.1:12345", "127.0.0.1:0", 1);
    scratch.write("config.toml", text);
    let server = scratch.bare_server().start();
    let defaults = "agencies: 5 | winning_number: 7574 | address: 127.0.0.1:0 | \
                    max_connections: 1024 | message_timeout_ms: 60000 | newcomer_timeout_ms: 10000 | \
                    exit_after_draw: false | bets: bets.csv | draw: sorteo.toml | level: info | \
                    tls: false";
    server.logs(defaults);
    server.address();
    server.stops_on("TERM");
    scratch.write("agencies/agency-1.csv", "bad line");
    let defaults = "client_id: all | server_address: 127.0.0.1:12345 | agencies_dir: agencies | \
                    batch_max_amount: 120 | batch_period_ms: 0 | window: 256 | resume: true | \
                    reply_timeout_ms: 30000 | retry_for_ms: 60000 | level: info";
    scratch.bare_client().run().exits(1).says(defaults);
}

#[test]
fn a_flag_that_nobody_knows_is_a_usage_error_that_names_it() {
    let scratch = Scratch::new();
    for arguments in
        [&["--surprise"][..], &["-x"], &["surprise"], &["--config"], &["--log-level", "info", "x"]]
    {
        for program in [scratch.server(), scratch.bare_client()] {
            let ended = program.arguments(arguments).run();
            ended.exits(2).says("error: ").says(arguments[arguments.len() - 1]);
            assert_eq!(ended.stdout, "");
        }
    }
    // The flags of the one are not those of the other.
    scratch.server().arguments(&["--batch-max-amount", "1"]).run().exits(2);
    scratch.bare_client().arguments(&["--new-draw"]).run().exits(2);
    assert!(scratch.names().is_empty());
}

#[test]
fn help_lists_every_flag_and_exits_well() {
    let scratch = Scratch::new();
    let both = ["--config", "--log-level", "--help"];
    let of_the_server = ["--address", "--agencies", "--winning-number", "--bets"];
    let switches = ["--exit-after-draw", "--new-draw"];
    let of_the_client = ["--server", "--agency", "--file", "--batch-max-amount"];
    let server = scratch.bare_server().arguments(&["--help"]).run();
    let client = scratch.bare_client().arguments(&["--help"]).run();
    for (ended, flags) in [
        (server, [&both[..], &of_the_server, &switches].concat()),
        (client, [&both[..], &of_the_client].concat()),
    ] {
        ended.exits(0);
        for flag in flags {
            assert!(ended.stdout.contains(flag), "{flag}: {ended}");
        }
        assert!(ended.stderr.is_empty());
        let widest = ended.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{ended}");
    }
    scratch.bare_server().arguments(&["--version"]).run().exits(0);
    assert!(scratch.names().is_empty());
}

#[test]
fn manuals_and_completions_name_every_flag_and_the_program_as_it_was_started() {
    let scratch = Scratch::new();
    for (start, name, flag) in [
        (Scratch::bare_server as fn(&Scratch) -> Start, "server", "--winning-number"),
        (Scratch::bare_client, "client", "--batch-max-amount"),
    ] {
        let manual = start(&scratch).arguments(&["--man"]).run();
        assert!(manual.exits(0).stdout.contains(&format!(".TH {name} 1")), "{manual}");
        assert!(manual.stdout.contains(&flag.replace('-', "\\-")), "{manual}");
        for (shell, named) in [("bash", flag), ("zsh", flag), ("fish", &flag[2..])] {
            let script = start(&scratch).arguments(&["--completions", shell]).run();
            assert!(script.exits(0).stdout.contains(named), "{script}");
            assert!(!script.stdout.contains("completions"), "only for packages: {script}");
        }
        start(&scratch).arguments(&["--completions", "csh"]).run().exits(2);
        for arguments in [&["--man"][..], &["--completions", "bash"]] {
            let full = fs::OpenOptions::new().write(true).open("/dev/full");
            let full = full.expect("/dev/full is there");
            let ended = start(&scratch).arguments(arguments).stdout_to(full).run();
            ended.exits(1).says("error: stdout could not be written: No space left");
        }
    }
}

#[test]
fn the_examples_of_the_help_have_the_name_that_a_package_installs() {
    let scratch = Scratch::new();
    for (program, executable, example) in [
        ("server", env!("CARGO_BIN_EXE_server"), "--verify"),
        ("client", env!("CARGO_BIN_EXE_client"), "--status"),
    ] {
        let name = format!("loteria-{program}");
        let link = scratch.path(&name);
        symlink(executable, &link).expect("a new link");
        let help = Start::of(Command::new(&link)).arguments(&["--help"]).run();
        assert!(help.exits(0).stdout.contains(&format!("\n  {name} {example}  ")), "{help}");
        assert!(help.stdout.lines().all(|line| line.chars().count() <= 80), "{help}");
        let indented = |line: &&str| line.starts_with("  ");
        let examples = help.stdout.split_once("\nExamples:\n").expect("examples").1;
        for example in examples.lines().take_while(indented) {
            assert!(example.contains(&name) || example.ends_with('\\'), "{example}");
        }
    }
}

#[test]
fn a_name_that_does_not_resolve_is_a_failure_that_names_it() {
    let scratch = Scratch::new();
    scratch
        .bare_server()
        .arguments(&["--address", "no.such.invalid:0"])
        .run()
        .exits(1)
        .says("no.such.invalid:0");
    scratch.write("agencies/agency-1.csv", "Ana,Gómez,30000001,2000-02-29,75\n");
    let client = scratch.bare_client().arguments(&["--server", "no.such.invalid:1"]);
    let client = client.variable("CLI_RETRY_FOR_MS", "200").run();
    client.exits(1).says("no.such.invalid:1");
}

#[test]
fn an_address_may_be_a_name_or_an_ipv6_address() {
    let scratch = Scratch::new();
    let server = scratch.bare_server().arguments(&["--address", "localhost:0"]).start();
    server.address();
    server.stops_on("TERM");
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    scratch.write("agencies/agency-1.csv", "Ana,Gómez,30000001,2000-02-29,7574\n");
    let server = scratch.bare_server().arguments(&["--address", "[::]:0", "--agencies", "1"]);
    let server = server.start();
    let address = server.address();
    let (_, port) = address.rsplit_once(':').expect("an address has a port");
    for host in ["[::1]", "127.0.0.1", "localhost"] {
        let ended = scratch.client(&format!("{host}:{port}")).run();
        ended.succeeds();
        assert_eq!(ended.stdout, "1,30000001\n");
    }
    let ended = server.stops_on("TERM");
    // An IPv4 peer is shown as one.
    ended.says("result: success | ip: ::1").says("result: success | ip: 127.0.0.1 | ");
}

#[test]
fn a_variable_that_resembles_a_setting_and_is_none_is_warned_of() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("bets.csv")).expect("a directory");
    let others = [("SERVER_PORT", "1"), ("CLI_WINDOWS", "1")];
    let server = scratch.server().variable("SERVER_ADRESS", "x").variables(&others).run();
    server.exits(1).says("WARN action: config").says("error: SERVER_ADRESS: no setting has this");
    server.says("is it SERVER_ADDRESS?").never_says("SERVER_PORT").never_says("CLI_WINDOWS");
    scratch.write("agencies/agency-1.csv", "bad line");
    let client = scratch.bare_client().variables(&others).run();
    client.exits(1).says("is it CLI_WINDOW?");
    assert_eq!(client.count("WARN"), 1, "{client}");
}

#[test]
fn fewer_connections_than_agencies_are_warned_of() {
    let scratch = Scratch::new();
    for (connections, times) in [("4", 1), ("5", 0)] {
        let server = scratch.server().variable("SERVER_MAX_CONNECTIONS", connections).start();
        server.address();
        let ended = server.stops_on("TERM");
        assert_eq!(ended.count("connections at a time may be too few for 5 agencies"), times);
    }
}

#[test]
fn a_file_that_looks_like_an_agency_s_and_is_none_is_warned_of() {
    let scratch = Scratch::new();
    for name in ["agency-1.csv", "agency-02.csv", "Agency-3.csv", "agency-10001.csv", "notes.csv"] {
        scratch.write(&format!("agencies/{name}"), "bad line");
    }
    let client = scratch.bare_client().run();
    for name in ["agency-02.csv", "Agency-3.csv", "agency-10001.csv"] {
        client
            .says(&format!("WARN action: config | result: in_progress | file: agencies/{name} | "));
    }
    assert_eq!(client.exits(1).count("WARN"), 3, "{client}");
}

mod levels {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused_where_quiet_is_asked_for_too() {
        let scratch = Scratch::new();
        for flag in ["--quiet", "--status"] {
            let client = scratch.bare_client().arguments(&[flag]).variable("LOG_LEVEL", "loud");
            refused(&client.run(), "LOG_LEVEL: must be off, error,", "loud");
        }
    }

    #[test]
    fn what_is_no_level_is_refused_by_the_name_that_it_was_given_under() {
        for level in ["loud", "1", "informational"] {
            let scratch = Scratch::new();
            let by_variable = scratch.server().variable("LOG_LEVEL", level).run();
            refused(
                &by_variable,
                "LOG_LEVEL: must be off, error, warn, info, debug or trace",
                level,
            );
            let by_flag = scratch.bare_client().arguments(&["--log-level", level]).run();
            refused(&by_flag, "--log-level: must be ", level);
            scratch.write("config.toml", format!("[log]\nlevel = \"{level}\"\n"));
            refused(&scratch.server().run(), "config.toml:2: log.level: must be ", level);
        }
    }

    #[test]
    fn a_usage_error_is_one_line_without_control_characters_where_the_log_is_off_too() {
        let scratch = Scratch::new();
        let client = scratch.bare_client().variable("LOG_LEVEL", "off");
        let ended = client.variable("CLI_WINDOW", "1\u{1b}[31m\n|").run();
        let told = "error: CLI_WINDOW: must be a number from 1 to 4096, not \"1 [31m ¦\"\n";
        ended.exits(2);
        assert_eq!(ended.stderr, [told], "{ended}");
    }

    #[test]
    fn a_filter_with_a_misspelled_level_is_refused_and_one_of_a_module_is_not() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("bets.csv")).expect("a directory");
        let server = |filter| scratch.server().variable("RUST_LOG", filter);
        for filter in
            ["zzz", "debgu,server=info", "server=inof", "a=b=info", "a=client", "3", "info/a/b"]
        {
            refused(&server(filter).run(), "RUST_LOG: must be a level or a filter", filter);
        }
        for filter in ["ERROR", " info , other=off", "loteria::session,error", "error/bets"] {
            server(filter).run().exits(1).says("error: bets.csv: ");
        }
        let level = server("zzz").arguments(&["--log-level", "info"]);
        level.run().exits(1).says("level: info");
    }

    /// What a server logs until it has stored a bet.
    fn storing(start: impl Fn(&Scratch) -> Start) -> Ended {
        let scratch = Scratch::new();
        let bets = "Ana,Gómez,30000001,2000-02-29,75\nEva,Ruiz,30000002,2000-02-29,0076\n";
        scratch.write("agencies/agency-1.csv", bets);
        let address = crate::support::program::lasting_address();
        let server = start(&scratch).arguments(&["--agencies", "1", "--address", &address]).start();
        // A variable, so that what is in the file is the server's only.
        scratch.client(&address).variable("LOG_LEVEL", "info").run().succeeds();
        server.stops_quietly()
    }

    const BETS: [&str; 2] = [
        "DEBUG action: apuesta_almacenada | result: success | dni: 30000001 | numero: 75 | ",
        "DEBUG action: apuesta_almacenada | result: success | dni: 30000002 | numero: 0076 | ",
    ];

    #[test]
    fn at_debug_level_each_bet_is_shown_and_otherwise_those_of_batches_of_one() {
        let debug = storing(|scratch| scratch.bare_server().variable("LOG_LEVEL", "debug"));
        let info = storing(Scratch::bare_server);
        for bet in BETS {
            assert_eq!(debug.count(bet), 1, "{debug}");
        }
        info.says("cantidad: 2").never_says("apuesta_almacenada");
    }

    #[test]
    fn a_flag_beats_log_level_that_beats_rust_log_that_beats_the_file() {
        let in_file = |scratch: &Scratch, level: &str| {
            scratch.write("config.toml", format!("log.level = \"{level}\"\n"));
            scratch.bare_server()
        };
        let has_debug = |ended: &Ended| ended.count(BETS[0]) == 1;
        assert!(has_debug(&storing(|scratch| in_file(scratch, "debug"))));
        assert!(!has_debug(&storing(
            |scratch| in_file(scratch, "debug").variable("RUST_LOG", "info")
        )));
        assert!(has_debug(&storing(
            |scratch| in_file(scratch, "off").variable("RUST_LOG", "debug")
        )));
        let filter = "loteria::session=debug";
        assert!(has_debug(
            &storing(|scratch| in_file(scratch, "off").variable("RUST_LOG", filter))
        ));
        let variables = [("RUST_LOG", "debug"), ("LOG_LEVEL", "info")];
        assert!(!has_debug(&storing(|scratch| in_file(scratch, "debug").variables(&variables))));
        let flag = ["--log-level", "debug"];
        let all = storing(|scratch| in_file(scratch, "off").variables(&variables).arguments(&flag));
        assert!(has_debug(&all));
    }

    #[test]
    fn at_a_higher_level_less_is_shown() {
        let warn = storing(|scratch| scratch.bare_server().variable("LOG_LEVEL", "warn"));
        assert!(warn.stderr.is_empty(), "{warn}");
        let off = Scratch::new();
        off.write("agencies/agency-1.csv", "bad\n");
        let ended = off.bare_client().arguments(&["--log-level", "off"]).run();
        // The reports of bad lines are no log.
        ended.exits(1);
        assert_eq!(ended.stderr, ["agencies/agency-1.csv:1: line: must have 5 fields, not 1\n"]);
        // Neither is what is wrong with the settings.
        let lone = off.bare_client().arguments(&["--log-level", "off"]).variable("NOMBRE", "Ana");
        let lone = lone.run();
        lone.exits(2);
        let missing = "APELLIDO, DOCUMENTO, NACIMIENTO, NUMERO, CLI_ID";
        assert_eq!(lone.stderr, [format!("error: a single bet needs these too: {missing}\n")]);
    }
}

mod log_lines {
    use super::*;

    /// Fails unless the line is `TIMESTAMP LEVEL action: NAME | result: RESULT | key: value …`.
    #[track_caller]
    fn assert_shape(line: &str) {
        let text = line.strip_suffix('\n').expect("a line has an end");
        let mut parts = text.splitn(3, ' ');
        let (time, level) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let digits = time.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(digits, "0000-00-00T00:00:00.000Z", "{line}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line}");
        let mut pairs = parts.next().unwrap_or("").split(" | ").map(|pair| pair.split_once(": "));
        let (action, name) = pairs.next().flatten().expect(line);
        assert!(action == "action" && is_word(name), "{line}");
        let (result, outcome) = pairs.next().flatten().expect(line);
        assert!(result == "result", "{line}");
        assert!(["success", "fail", "in_progress"].contains(&outcome), "{line}");
        for pair in pairs {
            let (key, value) = pair.expect(line);
            assert!(is_word(key), "{key}: {line}");
            assert!(!value.is_empty() && !value.contains('|'), "{key}: {line}");
            assert!(!value.chars().any(char::is_control), "{key}: {line}");
        }
    }

    fn is_word(text: &str) -> bool {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    }

    /// The line after its time and level.
    fn record(line: &str) -> &str {
        line.splitn(3, ' ').nth(2).unwrap_or("").trim_end()
    }

    /// Some line is `start`, or begins with it and goes on with further pairs.
    #[track_caller]
    fn assert_logged(ended: &Ended, level: &str, start: &str) {
        let level = format!(" {level} ");
        let found = ended.stderr.iter().filter(|line| line.contains(&level)).any(|line| {
            let rest = record(line).strip_prefix(start);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" | "))
        });
        assert!(found, "no{level}{start}\n{ended}");
    }

    #[test]
    fn the_lines_of_a_conversation_say_which_peer_and_agency_and_for_whom_the_draw_waits() {
        let scratch = Scratch::new();
        let server = scratch.server().arguments(&["--agencies", "3"]).start();
        let address = server.address();
        let [mut one, mut two] = [1, 2].map(|_| Peer::at(&address));
        let port = one.stream().local_addr().expect("it is connected").port();
        one.says("ECO|a;REANUDAR|1;APUESTA|1|Ana|Paz|30904465|1999-03-17|75;APUESTA|1|Ana|Paz|1|1999-03-17|75");
        one.says(
            "FINAPUESTA;APUESTA|1|Ana|Paz|30904465|1999-03-17|75;FINAPUESTA;FINAPUESTA;REANUDAR|1;GANADORES|1",
        );
        let answers = [
            "ECO|a",
            "REANUDAR|0",
            "ERROR|invalid_bet|",
            "CONFIRMARAPUESTA|1",
            "CONFIRMARAPUESTA|0",
            "REANUDAR|1|30904465|75",
        ];
        for answer in answers {
            one.hears_a_line_of(answer);
        }
        server.logs("action: wait_for_draw | result: in_progress | missing: 2, 3\n");
        two.says("GANADORES|2");
        server.logs("action: wait_for_draw | result: in_progress | missing: 3\n");
        let ended = server.stops_on("TERM");
        let peer = format!("ip: 127.0.0.1 | port: {port}");
        for line in [
            format!("action: accept_connections | result: success | {peer}\n"),
            format!(
                "action: receive_message | result: success | ip: 127.0.0.1 | msg: a | port: {port}\n"
            ),
            format!("action: resume | result: success | bets: 0 | {peer} | agency: 1\n"),
            format!("action: resume | result: success | bets: 1 | {peer} | agency: 1\n"),
            format!("dni: 30904465 | numero: 75 | {peer} | agency: 1\n"),
            format!(
                "action: apuesta_recibida | result: success | cantidad: 1 | {peer} | agency: 1\n"
            ),
            format!(
                "action: apuesta_recibida | result: success | cantidad: 0 | {peer} | agency: 1\n"
            ),
            format!("action: close_socket | result: success | {peer}\n"),
        ] {
            ended.says(&line);
        }
        let refused =
            ended.stderr.iter().find(|line| line.contains("apuesta_recibida | result: fail"));
        assert!(
            refused.is_some_and(|line| line.ends_with(&format!("{peer} | agency: 1\n"))),
            "{ended}"
        );
    }

    #[test]
    fn a_refused_batch_is_logged_with_all_its_bets() {
        let scratch = Scratch::new();
        let server = scratch.server().start();
        let mut peer = Peer::at(server.address());
        let [good, bad] =
            ["75", "x"].map(|number| format!("APUESTA|1|Ana|Paz|30904465|1999-03-17|{number}"));
        for (message, code) in [
            (format!("{bad};{good};{good};FINAPUESTA;{good};FINAPUESTA"), "invalid_bet"),
            (format!("{good};{bad};{good};{good}"), "invalid_bet"),
            (format!("{bad};REANUDAR|1;FINAPUESTA"), "open_batch"),
            (format!("{good};GANADORES|1;{good};FINAPUESTA"), "open_batch"),
            (format!("{good};FINAPUESTA|"), "field_count"),
            (format!("HOLA;{good};FINAPUESTA"), "unknown_command"),
            (format!("HOLA;{good};FINAPUESTA;{good};{good}"), "unknown_command"),
            (format!("ECO;{good};FINAPUESTA;{good};{good};{good}"), "field_count"),
            ("FINAPUESTA;ECO".into(), "field_count"),
            (format!("{bad};FINAPUESTA;{good};{good}"), "invalid_bet"),
            (format!("FINAPUESTA;{good};{good};{good}\nECO|\u{80}"), "invalid_field"),
            ("x".repeat(8192), "message_too_long"),
        ] {
            peer.says(&message);
            peer.hears_a_line_of(&format!("ERROR|{code}|"));
        }
        let mut peer = Peer::at(server.address());
        peer.says(&good);
        peer.sends(b"ECO|\xff\n");
        peer.hears_a_line_of("ERROR|invalid_utf8|");
        let mut peer = Peer::at(server.address());
        peer.says(&format!("{good};{good}"));
        peer.sends(b"APUESTA");
        peer.says_no_more();
        peer.hears_a_line_of("ERROR|message_torn|");
        let mut peer = Peer::at(server.address());
        peer.says(&format!("ECO|a;{good};{good};{good}"));
        peer.hears("ECO|a");
        let ended = server.stops_on("TERM");
        let refused = ended.stderr.iter().filter_map(|line| {
            let (_, after) = line.split_once("apuesta_recibida | result: fail | cantidad: ")?;
            after.split(' ').next()
        });
        assert_eq!(
            refused.collect::<Vec<_>>(),
            ["3", "1", "4", "2", "1", "1", "1", "2", "3", "1", "2", "3", "1", "2", "3"],
            "{ended}"
        );
    }

    #[test]
    fn the_fixed_lines_of_both_programs_are_as_they_are_fixed() {
        let scratch = Scratch::new();
        five_agencies(&scratch);
        let server = scratch.server().variable("LOG_LEVEL", "debug").start();
        let address = server.address();
        let bet = [
            ("CLI_ID", "4"),
            ("NOMBRE", "Ana"),
            ("APELLIDO", "Gómez"),
            ("DOCUMENTO", "30000001"),
            ("NACIMIENTO", "2000-02-29"),
            ("NUMERO", "0075"),
        ];
        let single = scratch.client(&address).variables(&bet).run();
        single.succeeds();
        scratch.write("agencies/agency-4.csv", "Ana,Gómez,30000001,2000-02-29,0075\n");
        let client = scratch.client(&address).variable("CLI_BATCH_MAX_AMOUNT", "20").run();
        client.succeeds();
        let late = scratch.client(&address).variables(&bet).run();
        late.exits(1);
        let server = server.stops_on("TERM");

        for ended in [&server, &client, &single, &late] {
            ended.stderr.iter().for_each(|line| assert_shape(line));
        }
        let of_the_server = [
            "action: config | result: success",
            "action: accept_connections | result: in_progress",
            "action: accept_connections | result: success | ip: 127.0.0.1",
            "action: apuesta_almacenada | result: success | dni: 30000001 | numero: 0075",
            "action: apuesta_recibida | result: success | cantidad: 1",
            "action: apuesta_recibida | result: success | cantidad: 20",
            "action: apuesta_recibida | result: fail | cantidad: 1",
            "action: sorteo | result: success",
            "action: receive_signal | result: success | signal: SIGTERM",
            "action: exit | result: success",
        ];
        for start in of_the_server {
            assert_logged(&server, "INFO", start);
        }
        assert_logged(&single, "INFO", "action: config | result: success | client_id: 4");
        let start = "action: apuesta_enviada | result: success | dni: 30000001 | numero: 0075";
        assert_logged(&single, "INFO", start);
        assert_logged(&client, "INFO", "action: config | result: success | client_id: all");
        for start in [
            "action: apuesta_enviada | result: success | cantidad: 20",
            "action: apuesta_enviada | result: success | cantidad: 1",
            "action: consulta_ganadores | result: success | cant_ganadores: 9",
            "action: consulta_ganadores | result: success | cant_ganadores: 0",
            "action: exit | result: success",
        ] {
            assert_logged(&client, "INFO", start);
        }
        // One line for each batch: 3 + 3 + 3 + 0 + 1 of the files, and the single bet.
        assert_eq!(server.count("action: apuesta_recibida | result: success"), 11, "{server}");
        assert_eq!(client.count("action: apuesta_enviada | result: success"), 10, "{client}");
        // The draw is told before any winner.
        let places = |text: &'static str| {
            let lines = server.stderr.iter().enumerate();
            lines.filter(move |(_, line)| line.contains(text)).map(|(place, _)| place)
        };
        // The connection of the single bet was closed before.
        let told = places("action: close_socket | result: success | ip: ").nth(1);
        assert!(told.is_some() && places("action: sorteo").next() < told, "{server}");
    }

    #[test]
    fn whatever_is_refused_a_log_line_is_one_line_of_the_same_shape() {
        let values = ["a|b", "a | b: c", "two\nlines", "a\u{1b}[31mb", "a\r\nb", "a\tb", "\u{85}"];
        for value in values {
            let scratch = Scratch::new();
            let failures = [
                scratch.bare_client().variable("CLI_ID", value),
                scratch.bare_client().arguments(&["--server", value]),
                scratch.bare_client().variable("CLI_AGENCIES_DIR", value),
                scratch.server().variable("LOG_LEVEL", value),
                scratch.server().arguments(&["--bets", &format!("{value}/x")]),
                scratch.server().arguments(&["--config", value]),
            ];
            for failure in failures {
                let ended = failure.run();
                assert_ne!(ended.code, Some(0), "{ended}");
                ended.stderr.iter().for_each(|line| assert_shape(line));
            }
            scratch.write("config.toml", format!("{value:?} = 1"));
            let ended = scratch.server().run();
            ended.exits(2).stderr.iter().for_each(|line| assert_shape(line));
        }
    }

    #[test]
    fn what_peers_send_stays_on_one_line_of_the_same_shape() {
        let scratch = Scratch::new();
        let server: Program = scratch.server().start();
        let address = server.address();
        let texts = [
            "no such\u{1b}[31m command\n".as_bytes(),
            b"APUESTA|1|An\x07a|Ruiz|30000001|2000-02-29|75;FINAPUESTA\n",
            b"APUESTA|1|Ana|Ruiz|3000\xc2\x850001|2000-02-29|75;FINAPUESTA\n",
            b"GANADORES|a\rb\n",
            b"ECO|a\tb\n",
            b"\xff\n",
        ];
        for (place, text) in (1..).zip(texts) {
            use std::io::Write;
            let mut peer = std::net::TcpStream::connect(&address).expect("the server listens");
            peer.write_all(text).expect("the server reads");
            drop(peer);
            server.logs(&format!("thread: session-{place}"));
        }
        server.stops_on("INT").stderr.iter().for_each(|line| assert_shape(line));
    }
}
