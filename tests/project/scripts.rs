//! At stake: the scripts that people start things with. The committed compose file must be what its script
//! writes, a script told nonsense must leave files alone, the echo script must tell a server that echoes from
//! all the kinds that do not, within seconds, and the local lottery must end with the winners or with what
//! went wrong, and leave nothing running.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The echo script gives up after five; the rest is for a busy machine.
const WITHIN_SECONDS: Duration = Duration::from_secs(20);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a scratch directory")
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

mod generar_compose {
    use super::*;

    fn generate(arguments: &[&str]) -> Output {
        let script = root().join("scripts/generar-compose.sh");
        let mut command = Command::new(script);
        command.env_remove("CLI_AGENCIES_DIR").args(arguments).output().expect("the script starts")
    }

    fn generated(agencies: &str) -> String {
        let scratch = scratch();
        let file = scratch.path().join("compose.yaml");
        let output = generate(&[file.to_str().expect("a path in UTF-8"), agencies]);
        assert!(output.status.success(), "{}", stderr_of(&output));
        fs::read_to_string(file).expect("the file was written")
    }

    #[test]
    fn the_committed_compose_file_is_its_output_for_5() {
        let committed =
            fs::read_to_string(root().join("docker-compose-dev.yaml")).expect("the committed file");
        assert!(
            generated("5") == committed,
            "run `scripts/generar-compose.sh docker-compose-dev.yaml 5`"
        );
    }

    #[test]
    fn every_agency_has_a_client_and_the_server_is_told_how_many() {
        for agencies in [1, 2, 17, 250] {
            let text = generated(&agencies.to_string());
            let names: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix("    container_name: ")).collect();
            let expected: Vec<String> = std::iter::once("server".to_owned())
                .chain((1..=agencies).map(|agency| format!("client{agency}")))
                .collect();
            assert_eq!(names, expected);
            assert!(text.contains(&format!("      - AGENCIES={agencies}\n")));
            assert!(text.contains(&format!("      - CLI_ID={agencies}\n")));
        }
    }

    #[test]
    fn in_tls_everyone_is_given_who_it_is_and_nobody_else_s_key() {
        let scratch = scratch();
        let file = scratch.path().join("compose.yaml");
        let output = generate(&[file.to_str().expect("a path in UTF-8"), "3", "tls"]);
        assert!(output.status.success(), "{}", stderr_of(&output));
        let text = fs::read_to_string(&file).expect("the file was written");
        let services: Vec<&str> = text.split("    container_name: ").skip(1).collect();
        assert_eq!(services.len(), 4);
        for service in services {
            let name = service.lines().next().expect("the name of the container");
            let own = name.replace("client", "agency-");
            let keys: Vec<&str> = service.lines().filter(|line| line.contains(".key")).collect();
            assert_eq!(
                keys,
                [
                    format!("      - TLS_KEY=tls/{own}.key"),
                    format!("      - ./tls/{own}.key:/app/tls/{own}.key:ro"),
                ]
            );
            for line in [
                format!("      - TLS_CERTIFICATE=tls/{own}.pem\n"),
                format!("      - ./tls/{own}.pem:/app/tls/{own}.pem:ro\n"),
                "      - TLS_AUTHORITY=tls/authority.pem\n".into(),
                "      - ./tls/authority.pem:/app/tls/authority.pem:ro\n".into(),
                "      - ./config.toml:/app/config.toml:ro\n".into(),
            ] {
                assert!(service.contains(&line), "{name} lacks {line}");
            }
        }
        assert_eq!(text.matches("        - FEATURES=tls\n").count(), 2, "two images are built");
        assert!(!text.contains("revoked"), "Docker would make a directory of it");

        fs::create_dir(scratch.path().join("tls")).expect("a directory");
        fs::write(scratch.path().join("tls/revoked.pem"), "a list").expect("a file");
        generate(&[file.to_str().expect("a path in UTF-8"), "3", "tls"]);
        let text = fs::read_to_string(&file).expect("the file was written");
        let services = text.split("    container_name: ").skip(1);
        let with_list: Vec<&str> = services.filter(|text| text.contains("revoked")).collect();
        assert!(with_list.len() == 1 && with_list[0].starts_with("server\n"), "{text}");
        for line in [
            "      - TLS_REVOKED=tls/revoked.pem\n",
            "      - ./tls/revoked.pem:/app/tls/revoked.pem:ro\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn no_agencies_are_a_server_alone() {
        let text = generated("0");
        assert!(text.contains("container_name: server\n"));
        assert!(!text.contains("client"), "{text}");
        assert!(!text.contains("AGENCIES"), "{text}");
    }

    fn with_agencies_in(directory: &str, file: &Path, tls: &[&str]) -> Output {
        let script = root().join("scripts/generar-compose.sh");
        let mut command = Command::new(script);
        command.env("CLI_AGENCIES_DIR", directory).arg(file).arg("2").args(tls);
        command.output().expect("the script starts")
    }

    #[test]
    fn the_agencies_may_be_in_another_directory() {
        let scratch = scratch();
        let file = scratch.path().join("compose.yaml");
        for (directory, mounted) in [
            ("", "./agencies"),
            ("agencies-10", "./agencies-10"),
            ("./agencies-10", "./agencies-10"),
            ("../agencies", "../agencies"),
            ("/srv/agencies", "/srv/agencies"),
        ] {
            for (tls, times) in [(&[][..], 1), (&["tls"], 2)] {
                let output = with_agencies_in(directory, &file, tls);
                assert!(output.status.success(), "{}", stderr_of(&output));
                let text = fs::read_to_string(&file).expect("the file was written");
                let line = format!("- {mounted}:/app/agencies:ro\n");
                assert_eq!(text.matches(&line).count(), times, "{directory}: {text}");
            }
        }
        fs::write(&file, "mine").expect("a file that can be written");
        for directory in ["a b", "a:b", "$HOME", "a\nb"] {
            assert_eq!(with_agencies_in(directory, &file, &[]).status.code(), Some(2));
            assert_eq!(fs::read_to_string(&file).expect("the file is still there"), "mine");
        }
    }

    #[test]
    fn zeros_before_the_number_change_nothing() {
        assert_eq!(generated("005"), generated("5"));
        assert_eq!(generated("08"), generated("8"));
    }

    #[test]
    fn wrong_arguments_end_with_2_and_their_usage_and_touch_no_file() {
        let scratch = scratch();
        let file = scratch.path().join("compose.yaml");
        let path = file.to_str().expect("a path in UTF-8");
        fs::write(&file, "mine").expect("a file that can be written");
        let wrong: &[&[&str]] = &[
            &[],
            &[path],
            &[path, ""],
            &[path, "five"],
            &[path, "-1"],
            &[path, "5.0"],
            &[path, "5 5"],
            &[path, "251"],
            &[path, "99999999999999999999"],
            &[path, "5", "5"],
            &[path, "5", ""],
            &[path, "5", "TLS"],
            &[path, "5", "tls", "tls"],
            &["", "5"],
            &[scratch.path().to_str().expect("a path in UTF-8"), "5"],
        ];
        for arguments in wrong {
            let output = generate(arguments);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert!(stderr_of(&output).contains("usage: "), "{arguments:?}");
            assert_eq!(stdout_of(&output), "", "{arguments:?}");
            assert_eq!(fs::read_to_string(&file).expect("the file is still there"), "mine");
            assert_eq!(
                fs::read_dir(scratch.path()).expect("the directory is still there").count(),
                1
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let output = generate(&["/dev/null/compose.yaml", "5"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr_of(&output).contains("/dev/null/compose.yaml"));
    }
}

mod generar_certificados {
    use super::*;

    fn generate(directory: &Path, arguments: &[&str]) -> Output {
        let script = root().join("scripts/generar-certificados.sh");
        let mut command = Command::new(script);
        command.arg(directory).args(arguments).output().expect("the script starts")
    }

    #[test]
    fn wrong_arguments_end_with_2_and_their_usage_and_make_nothing() {
        let scratch = scratch();
        let directory = scratch.path().join("tls");
        let wrong: &[&[&str]] = &[
            &[],
            &[""],
            &["0"],
            &["00"],
            &["-1"],
            &["five"],
            &["1001"],
            &["99999999999999999999"],
            &["5", ""],
            &["5", "a b"],
            &["5", "a,DNS:b"],
            &["5", "central:12345"],
            &["5", "agency-1"],
            &["5", "central", "agency-10"],
            &["5", "12.34.56.78:12345"],
        ];
        for arguments in wrong {
            let output = generate(&directory, arguments);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert!(stderr_of(&output).contains("usage: "), "{arguments:?}");
            assert!(!directory.exists(), "{arguments:?}");
        }
        assert_eq!(generate(Path::new(""), &["5"]).status.code(), Some(2));
        for days in ["0", "030", "-1", "two"] {
            let mut command = Command::new(root().join("scripts/generar-certificados.sh"));
            let output = command.arg(&directory).arg("5").env("DAYS", days).output();
            let output = output.expect("the script starts");
            assert_eq!(output.status.code(), Some(2), "{days}");
            assert!(stderr_of(&output).contains(&format!("DAYS is '{days}'")), "{days}");
            assert!(!directory.exists(), "{days}");
        }
    }
}

mod validar_echo_server {
    use super::*;

    const SUCCESS: &str = "action: test_echo_server | result: success\n";
    const FAIL: &str = "action: test_echo_server | result: fail\n";

    /// The script under each shell that people start it with, on a PATH that holds bash alone and, where it is
    /// given, a `docker` that runs these commands of a shell.
    fn scripts(docker: Option<&str>, arguments: &[&str]) -> (tempfile::TempDir, [Command; 2]) {
        let bin = scratch();
        symlink(tool("bash"), bin.path().join("bash")).expect("a link to bash");
        if let Some(commands) = docker {
            let docker = bin.path().join("docker");
            fs::write(&docker, format!("#!/bin/sh\n{commands}\n")).expect("a new file");
            fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).expect("our file");
        }
        let commands = ["bash", "sh"].map(|shell| {
            let mut command = Command::new(tool(shell));
            command.arg(root().join("scripts/validar-echo-server.sh")).args(arguments);
            command.env("PATH", bin.path()).env_remove("SERVER_ADDRESS");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        });
        (bin, commands)
    }

    /// Runs both at once, since some of them end only with their time.
    fn outputs(commands: [Command; 2]) -> [Output; 2] {
        let begin = Instant::now();
        let started = commands.map(|mut command| command.spawn().expect("the shell starts"));
        let outputs = started.map(|child| child.wait_with_output().expect("it ends"));
        assert!(begin.elapsed() < WITHIN_SECONDS, "it took {:?}", begin.elapsed());
        for output in &outputs {
            assert!(!stderr_of(output).contains("Terminated"), "{}", stderr_of(output));
        }
        outputs
    }

    fn ask(address: SocketAddr, arguments: &[&str]) -> [Output; 2] {
        let (_bin, commands) = scripts(None, arguments);
        outputs(commands.map(|mut command| {
            command.env("SERVER_ADDRESS", address.to_string());
            command
        }))
    }

    /// Asks a server of which nothing is expected, however long it is waited for.
    fn ask_in_vain(address: SocketAddr) -> [Output; 2] {
        let (_bin, commands) = scripts(None, &[]);
        outputs(commands.map(|mut command| {
            command.env("SERVER_ADDRESS", address.to_string()).env("ECHO_SECONDS", "0.5");
            command
        }))
    }

    fn tool(name: &str) -> PathBuf {
        let path = std::env::var_os("PATH").expect("a PATH");
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|candidate| candidate.exists())
            .unwrap_or_else(|| panic!("{name} is not on the PATH"))
    }

    /// A server for each of the two questions; what a peer said ends with its thread.
    fn server(answer: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for peer in listener.incoming() {
                answer(peer.expect("a connection"));
            }
        });
        address
    }

    /// Answers each peer's line with what `reply` makes of it.
    fn answering(reply: impl Fn(String) -> String + Send + 'static) -> SocketAddr {
        server(move |mut peer| {
            let mut line = String::new();
            BufReader::new(&peer).read_line(&mut line).expect("a line");
            peer.write_all(reply(line).as_bytes()).expect("a peer that hears");
        })
    }

    /// A port that nobody listens on and that the system gives to nobody who asks for a free one.
    fn nobody() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    fn assert_all(outputs: [Output; 2], verdict: &str, code: i32) {
        for output in outputs {
            assert_eq!(stdout_of(&output), verdict, "{}", stderr_of(&output));
            assert_eq!(output.status.code(), Some(code));
        }
    }

    #[test]
    fn a_server_that_echoes_succeeds() {
        assert_all(ask(answering(|line| line), &[]), SUCCESS, 0);
    }

    #[test]
    fn the_message_arrives_as_it_was_given() {
        let address =
            answering(
                |line| if line == "ECO|a  *  %s \\n ñ $HOME 'x'\n" { line } else { "?\n".into() },
            );
        assert_all(ask(address, &["a  *  %s \\n ñ $HOME 'x'"]), SUCCESS, 0);
    }

    #[test]
    fn a_message_that_is_a_command_already_is_not_made_one_again() {
        let address = answering(|line| if line == "ECO|hola\n" { line } else { "?\n".into() });
        assert_all(ask(address, &["ECO|hola"]), SUCCESS, 0);
    }

    #[test]
    fn a_server_that_keeps_the_connection_open_after_its_echo_succeeds() {
        let address = server(|mut peer| {
            let mut line = String::new();
            BufReader::new(&peer).read_line(&mut line).expect("a line");
            peer.write_all(line.as_bytes()).expect("a peer that hears");
            // Until the script has gone.
            assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
        });
        assert_all(ask(address, &[]), SUCCESS, 0);
    }

    #[test]
    fn a_server_that_alters_the_line_fails() {
        assert_all(ask(answering(|line| line.to_lowercase()), &[]), FAIL, 1);
    }

    #[test]
    fn a_server_that_adds_to_the_line_fails() {
        assert_all(ask(answering(|line| format!(" {line}")), &[]), FAIL, 1);
    }

    #[test]
    fn a_server_that_never_ends_the_line_fails() {
        assert_all(ask(answering(|line| line.trim_end().to_owned()), &[]), FAIL, 1);
    }

    #[test]
    fn a_server_that_stays_silent_fails_within_seconds() {
        let address = server(|mut peer| {
            // Whatever is said, until the script has gone.
            let _ = peer.read_to_end(&mut Vec::new());
        });
        assert_all(ask_in_vain(address), FAIL, 1);
    }

    #[test]
    fn a_server_that_accepts_no_connection_any_more_fails_within_seconds() {
        // The system accepts for a listener that does not, so this is silence of another kind.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        assert_all(ask_in_vain(listener.local_addr().expect("an address")), FAIL, 1);
    }

    #[test]
    fn a_server_that_closes_at_once_fails() {
        assert_all(ask(server(drop), &[]), FAIL, 1);
    }

    #[test]
    fn a_server_that_is_down_fails() {
        assert_all(ask(nobody(), &[]), FAIL, 1);
    }

    #[test]
    fn a_container_that_is_stopped_fails_and_nobody_else_is_asked() {
        let docker = "case $1 in ps) echo 7574 ;; inspect) echo exited ;; *) exit 1 ;; esac";
        let (_bin, commands) = scripts(Some(docker), &[]);
        for output in outputs(commands) {
            assert_eq!(stdout_of(&output), FAIL);
            assert_eq!(output.status.code(), Some(1));
            let why = "validar-echo-server: the container 'server' is not running but exited\n";
            assert_eq!(stderr_of(&output), why);
        }
    }

    #[test]
    fn an_address_that_is_given_is_asked_whatever_docker_has() {
        let docker = "echo 'docker was asked' >&2; exit 1";
        let address = answering(|line| line).to_string();
        let (_bin, commands) = scripts(Some(docker), &[]);
        let outputs = outputs(commands.map(|mut command| {
            command.env("SERVER_ADDRESS", &address);
            command
        }));
        for output in outputs {
            assert_eq!(stdout_of(&output), SUCCESS);
            let told = format!("validar-echo-server: asking {address} directly\n");
            assert_eq!(stderr_of(&output), told);
        }
    }

    /// The first line on stderr, since the second is about a port that may be anybody's.
    fn first_words_beside(docker: &str) -> [String; 2] {
        let (_bin, commands) = scripts(Some(docker), &[]);
        let limited = commands.map(|mut command| {
            command.env("ECHO_SECONDS", "0.5");
            command
        });
        outputs(limited)
            .map(|output| stderr_of(&output).lines().next().unwrap_or_default().to_owned())
    }

    #[test]
    fn without_such_a_container_this_machine_is_asked() {
        let asking = "validar-echo-server: asking 127.0.0.1:12345 directly";
        assert_eq!(first_words_beside("exit 0"), [asking, asking]);
        let silent = "validar-echo-server: Docker does not answer, so its containers are not asked";
        assert_eq!(first_words_beside("exit 1"), [silent, silent]);
    }

    #[test]
    fn what_is_not_one_message_is_refused_with_2() {
        for arguments in [&["a", "b"][..], &["a\nb"], &["a;b"], &["a|b"], &["ECO|a|b"], &["--help"]]
        {
            for output in ask(nobody(), arguments) {
                assert_eq!(output.status.code(), Some(2));
                assert_eq!(stdout_of(&output), "");
                assert!(stderr_of(&output).contains("usage: "));
            }
        }
    }
}

mod sorteo_local {
    use super::*;

    /// The script of the project at `root` with the programs under test, its results below `results`.
    fn lottery(root: &Path, results: &Path) -> Command {
        started_as(&root.join("scripts/sorteo-local.sh"), results)
    }

    /// The same by this path to the script.
    fn started_as(script: &Path, results: &Path) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_server"))
            .parent()
            .expect("a program lies in a directory");
        let mut command = Command::new("bash");
        command.arg(script).env("SORTEO_PROGRAMS", programs);
        command.env("TMPDIR", results).current_dir(results);
        command
    }

    /// A project with agencies of its own.
    fn project(agencies: &[(&str, &str)]) -> tempfile::TempDir {
        let project = scratch();
        for directory in ["scripts", "agencies"] {
            fs::create_dir(project.path().join(directory)).expect("a new directory");
        }
        for file in ["scripts/sorteo-local.sh", "config.toml"] {
            fs::copy(root().join(file), project.path().join(file)).expect("a copy");
        }
        for (name, lines) in agencies {
            fs::write(project.path().join("agencies").join(name), lines).expect("a new file");
        }
        project
    }

    #[test]
    fn the_committed_agencies_hear_2_3_3_1_and_0_winners() {
        let results = scratch();
        let output = lottery(root(), results.path()).output().expect("the script starts");
        assert!(output.status.success(), "{}", stderr_of(&output));
        let told = stdout_of(&output);
        for (agency, winners) in
            [(1, "2 winners: "), (2, "3 winners: "), (3, "3 winners: "), (4, "1 winner: ")]
        {
            let line = told.lines().find(|line| line.starts_with(&format!("agency {agency}: ")));
            assert!(line.is_some_and(|line| line.contains(winners)), "{told}");
        }
        assert!(told.contains("agency 5: 140 bets, 0 winners\n"), "{told}");
        let bets = told
            .lines()
            .find_map(|line| line.strip_prefix("bets:    ")?.strip_suffix(" (7000 lines)"))
            .unwrap_or_else(|| panic!("{told}"));
        assert_eq!(fs::read_to_string(bets).expect("the bets lie there").lines().count(), 7000);
    }

    #[test]
    fn empty_lines_of_a_file_are_not_counted() {
        let lines = "\u{feff}\nAna,Luna,1234567,2000-02-29,7574\r\n\r\n\n";
        let project = project(&[("agency-1.csv", lines), ("agency-2.csv", "\n")]);
        let results = scratch();
        let output = lottery(project.path(), results.path()).output().expect("the script starts");
        assert!(output.status.success(), "{}", stderr_of(&output));
        let told = stdout_of(&output);
        assert!(told.contains("agency 1: 1 bet, 1 winner: 1234567\n"), "{told}");
        assert!(told.contains("agency 2: 0 bets, 0 winners\n"), "{told}");
    }

    #[test]
    fn a_bad_line_is_what_the_lottery_ends_with() {
        let project = project(&[("agency-1.csv", "Ana,Luna,1234567,2000-02-30,7574\n")]);
        let results = scratch();
        let output = lottery(project.path(), results.path()).output().expect("the script starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr_of(&output).contains("agency-1.csv:1: "), "{}", stderr_of(&output));
    }

    #[test]
    fn an_agency_that_is_missing_is_named_before_anything_starts() {
        let project = project(&[("agency-1.csv", ""), ("agency-3.csv", "")]);
        let results = scratch();
        let output = lottery(project.path(), results.path()).output().expect("the script starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr_of(&output).contains("agency-2.csv"), "{}", stderr_of(&output));
        assert_eq!(fs::read_dir(results.path()).expect("the directory is there").count(), 0);
    }

    #[test]
    fn its_project_is_found_by_a_link_and_whatever_cdpath_has() {
        let project = project(&[("agency-1.csv", "")]);
        let results = scratch();
        let link = results.path().join("lottery");
        std::os::unix::fs::symlink(project.path().join("scripts/sorteo-local.sh"), link)
            .expect("a link");
        for (directory, script) in
            [(results.path(), "lottery"), (project.path(), "scripts/sorteo-local.sh")]
        {
            let mut command = started_as(Path::new(script), results.path());
            let output = command.current_dir(directory).env("CDPATH", root()).output();
            let output = output.expect("bash starts");
            assert!(output.status.success(), "{}", stderr_of(&output));
            assert!(stdout_of(&output).starts_with("agency 1: 0 bets, 0 winners\nbets: "));
        }
    }

    #[test]
    fn a_lottery_that_is_told_to_stop_leaves_no_server_behind() {
        let results = scratch();
        let mut script = lottery(root(), results.path())
            // Far longer than this test takes.
            .env("CLI_BATCH_PERIOD_MS", "10000")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let mut errors = BufReader::new(script.stderr.take().expect("a pipe"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("a line");
        let address = line.trim_end().strip_prefix("sorteo-local: 5 agencies send their bets to ");
        let address = address.unwrap_or_else(|| panic!("{line}"));
        TcpStream::connect(address).expect("a server that listens");

        let told = Command::new("kill")
            .args(["-TERM", &script.id().to_string()])
            .status()
            .expect("kill starts");
        assert!(told.success());
        assert_eq!(script.wait().expect("an exit code").code(), Some(143));
        assert!(TcpStream::connect(address).is_err(), "there is still a server");
    }
}

mod docker_tests {
    use super::*;

    #[test]
    fn an_engine_that_hangs_ends_them() {
        let scratch = scratch();
        for name in ["docker", "docker-compose"] {
            let file = scratch.path().join(name);
            fs::write(&file, "#!/bin/sh\nexec sleep 100\n").expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a file");
            let tests = format!(
                "root=. && source tests/docker/checks.sh && ENGINE_SECONDS_MAX=1 && trap 'exit 143' TERM
                 check it {name} ps; echo goes on"
            );
            let path = std::env::var("PATH").expect("a PATH");
            let mut command = Command::new("bash");
            command.args(["-c", &tests]).current_dir(root());
            command.env("PATH", format!("{}:{path}", scratch.path().display()));
            let output = command.output().expect("bash starts");
            assert_eq!(output.status.code(), Some(143), "{}", stdout_of(&output));
            let why = format!("# the engine hangs: no end of `{name} ps` within 1 seconds\n");
            assert_eq!(stdout_of(&output), why);
        }
    }
}

mod record_run {
    use super::*;

    /// What both terminals show in the end, a line of each after the other, without what differs from run to run:
    /// log lines and how long it took.
    fn last_picture(svg: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for text in svg.split("<text xml:space").skip(1) {
            if !text.contains("visibility=\"visible\">") {
                continue;
            }
            let (text, _) = text.split_once("</text>").expect("an element ends");
            let parts = text.split('<').filter_map(|part| Some(part.split_once('>')?.1));
            let line: String = parts.collect();
            let line = line.split(", in ").next().expect("a split has a first part").to_owned();
            if line.starts_with("agency ") || !line.contains(": ") {
                lines.push(line);
            }
        }
        lines
    }

    #[test]
    fn the_picture_in_the_readme_shows_what_two_terminals_show() {
        if !PathBuf::from("/dev/ptmx").exists() || Command::new("python3").output().is_err() {
            crate::support::program::skipped("scripts/record-run.py", "python3 with terminals");
            return;
        }
        let scratch = scratch();
        let file = scratch.path().join("run.svg");
        let programs = Path::new(env!("CARGO_BIN_EXE_server")).parent().expect("a directory");
        let mut command = Command::new(root().join("scripts/record-run.py"));
        // Without pauses the last picture is the same.
        command.arg(&file).env("RECORD_PROGRAMS", programs).env("RECORD_PERIOD_MS", "0");
        let output = command.output().expect("a start");
        assert!(output.status.success(), "{}", stderr_of(&output));
        let recorded = fs::read_to_string(file).expect("the picture");
        let committed = fs::read_to_string(root().join("docs/run.svg")).expect("the picture");
        let mut pictures = [recorded, committed].map(|svg| last_picture(&svg));
        assert!(pictures[0].len() > 15, "{pictures:?}");
        // Agencies tell their winners in the order in which they are answered.
        for picture in &mut pictures {
            picture.sort();
        }
        let [recorded, committed] = pictures;
        assert_eq!(committed, recorded, "record it again: `make build && scripts/record-run.py`");
    }
}
