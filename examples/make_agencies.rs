//! Makes agencies' files of invented bets, of any size, the same ones for the same arguments.
//!
//! The files in `agencies/` were made by
//!
//! ```sh
//! cargo run --example make_agencies -- --agencies 5 --bets 7000 --winners-per-agency 2,3,3,1,0 agencies
//! ```
//!
//! and `tests/project/agencies.rs` fails if this program would make different ones.
//!
//! Like real files, they have agencies of very different sizes, accents, compound names, now and then a quoted
//! field that holds a comma or quotes, CRLF at the even-numbered agencies and LF at the odd ones, and no line end
//! after agency 3's last line.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, error::ErrorKind, value_parser};

/// Makes DIR/agency-1.csv to DIR/agency-N.csv, full of invented bets.
///
/// A line is `nombre,apellido,documento,nacimiento,numero`. There is no header.
/// The same arguments make the same files, byte for byte, on every machine.
/// Existing files of these names are replaced.
#[derive(Parser)]
#[command(
    name = "make_agencies",
    verbatim_doc_comment,
    after_help = "Examples:
  make_agencies --bets 1000000 /tmp/million
  make_agencies --agencies 500 --bets 100000 --seed 3 --quoted-one-in 0 /tmp/plain
  make_agencies --bets 7000 --winners-per-agency 2,3,3,1,0 agencies"
)]
struct Options {
    /// Number of agencies, each with its own file
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u64).range(1..=10_000))]
    agencies: u64,

    /// Number of bets of all agencies, which get very different shares of them
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(0..=1_000_000_000_000))]
    bets: u64,

    /// Another seed makes other people and other numbers
    #[arg(long, value_name = "N", default_value_t = 7574)]
    seed: u64,

    /// Number of bets on the winning number, for each agency; random if it is not given
    #[arg(long, value_name = "W,W,...", value_delimiter = ',')]
    winners_per_agency: Option<Vec<u64>>,

    /// The number that --winners-per-agency counts
    #[arg(long, value_name = "N", default_value_t = 7574, value_parser = value_parser!(u64).range(0..NUMBERS))]
    winning_number: u64,

    /// One bet in N has a quoted name, most of them with a comma or quotes in it; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u64).range(0..=1_000_000_000))]
    quoted_one_in: u64,

    /// Directory of the files; made if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// The number of numbers to bet on, from 0.
const NUMBERS: u64 = 10_000;

/// The size of one write, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A bound for the length of a line, in bytes.
const LINE_BYTES_MAX: usize = 512;

/// Sizes of agencies relative to each other; a sixth agency is as large as the first, and so on.
const SHARES: [u64; 5] = [340, 320, 200, 120, 20];

fn main() -> ExitCode {
    let options = Options::parse();
    let plans = match plan(&options) {
        Ok(plans) => plans,
        Err(reason) => Options::command().error(ErrorKind::ValueValidation, reason).exit(),
    };
    match make(&options, &plans) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Where stderr is gone too, the exit code still tells.
            let _ = writeln!(io::stderr(), "make_agencies: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// What one agency's file is to hold.
struct Plan {
    agency: u64,
    bets: u64,
    /// `None` leaves it to chance.
    winners: Option<u64>,
}

fn plan(options: &Options) -> Result<Vec<Plan>, String> {
    let shares = || (1..=options.agencies).zip(SHARES.into_iter().cycle());
    let of_all: u64 = shares().map(|(_, share)| share).sum();
    let mut plans: Vec<Plan> = shares()
        .map(|(agency, share)| Plan {
            agency,
            bets: options.bets / of_all * share + options.bets % of_all * share / of_all,
            winners: None,
        })
        .collect();
    let rounded_off = options.bets - plans.iter().map(|plan| plan.bets).sum::<u64>();
    plans[0].bets += rounded_off;

    if let Some(winners) = &options.winners_per_agency {
        if winners.len() != plans.len() {
            return Err(format!(
                "--winners-per-agency: {} counts for {} agencies",
                winners.len(),
                plans.len()
            ));
        }
        for (plan, &winners) in plans.iter_mut().zip(winners) {
            if winners > plan.bets {
                return Err(format!(
                    "--winners-per-agency: agency {} has only {} bets, {winners} of them can't win",
                    plan.agency, plan.bets
                ));
            }
            plan.winners = Some(winners);
        }
    }
    Ok(plans)
}

fn make(options: &Options, plans: &[Plan]) -> Result<(), String> {
    let told = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&options.directory).map_err(|error| told(&options.directory, error))?;
    for plan in plans {
        let path = options.directory.join(format!("agency-{}.csv", plan.agency));
        make_agency(options, plan, &path).map_err(|error| told(&path, error))?;
        // A reader of this report who went away is no reason to leave files unmade.
        let _ = writeln!(io::stdout(), "{}: {} bets", path.display(), plan.bets);
    }
    Ok(())
}

fn make_agency(options: &Options, plan: &Plan, path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    // Each agency draws from a stream of its own, so that its people do not depend on how much others sold.
    let mut random = Random::of(options.seed, plan.agency);
    let line_end: &[u8] = if plan.agency.is_multiple_of(2) { b"\r\n" } else { b"\n" };
    let mut winners_left = plan.winners;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);

    for bets_left in (1..=plan.bets).rev() {
        let number = match &mut winners_left {
            None => random.below(NUMBERS),
            // Taking each line with this probability takes exactly as many lines as asked, all equally likely.
            Some(winners) if random.below(bets_left) < *winners => {
                *winners -= 1;
                options.winning_number
            }
            Some(_) => (options.winning_number + 1 + random.below(NUMBERS - 1)) % NUMBERS,
        };
        push_bet(&mut buffer, &mut random, options.quoted_one_in, number);
        if bets_left > 1 || plan.agency != 3 {
            buffer.extend_from_slice(line_end);
        }
        if buffer.len() > BUFFER_BYTES - LINE_BYTES_MAX {
            file.write_all(&buffer)?;
            buffer.clear();
        }
    }
    file.write_all(&buffer)
}

fn push_bet(line: &mut Vec<u8>, random: &mut Random, quoted_one_in: u64, number: u64) {
    let quoted = quoted_one_in > 0 && random.below(quoted_one_in) == 0;
    match quoted.then(|| random.below(3)) {
        None => {
            push_first_name(line, random);
            line.push(b',');
            push_last_name(line, random);
        }
        // An affectionate name: "Rosa ""Porota""",Vera
        Some(0) => {
            line.push(b'"');
            push_first_name(line, random);
            line.extend_from_slice(b" \"\"");
            line.extend_from_slice(random.one_of(NICKNAMES).as_bytes());
            line.extend_from_slice(b"\"\"\",");
            push_last_name(line, random);
        }
        // Father and son of the same name: Juan,"Vera, hijo"
        Some(1) => {
            push_first_name(line, random);
            line.extend_from_slice(b",\"");
            push_last_name(line, random);
            line.extend_from_slice(b", hijo\"");
        }
        // Quotes that need not be there are allowed, too.
        Some(_) => {
            line.push(b'"');
            push_first_name(line, random);
            line.extend_from_slice(b"\",\"");
            push_last_name(line, random);
            line.push(b'"');
        }
    }

    // Documents were given out roughly in the order of births.
    let year = 1930 + random.below(78);
    let document = 5_000_000 + (year - 1930) * 560_000 + random.below(2_000_000);
    let month = 1 + random.below(12);
    let day = 1 + random.below(days_in(year, month));
    line.push(b',');
    push_number(line, document, 1);
    line.push(b',');
    push_number(line, year, 4);
    line.push(b'-');
    push_number(line, month, 2);
    line.push(b'-');
    push_number(line, day, 2);
    line.push(b',');
    push_number(line, number, 1);
}

fn push_first_name(line: &mut Vec<u8>, random: &mut Random) {
    let names = if random.below(2) == 0 { WOMEN } else { MEN };
    line.extend_from_slice(random.one_of(names).as_bytes());
    if random.below(5) < 2 {
        line.push(b' ');
        line.extend_from_slice(random.one_of(names).as_bytes());
    }
}

fn push_last_name(line: &mut Vec<u8>, random: &mut Random) {
    line.extend_from_slice(random.one_of(LAST_NAMES).as_bytes());
    if random.below(12) == 0 {
        line.push(b' ');
        line.extend_from_slice(random.one_of(LAST_NAMES).as_bytes());
    }
}

/// Formatting by hand, since `write!` takes longer than everything else a bet needs.
fn push_number(line: &mut Vec<u8>, mut value: u64, digits_min: usize) {
    let mut digits = [b'0'; 20];
    let mut begin = digits.len();
    while value > 0 || digits.len() - begin < digits_min {
        begin -= 1;
        digits[begin] += (value % 10) as u8;
        value /= 10;
    }
    line.extend_from_slice(&digits[begin..]);
}

fn days_in(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// SplitMix64: a counter and a mixing of its bits. A crate's generator may change with its version; the
/// committed files must not.
struct Random(u64);

impl Random {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// A stream of its own for each pair.
    fn of(seed: u64, stream: u64) -> Self {
        let start = Random(seed).bits();
        Random(Random(start ^ stream).bits())
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of 0 to `limit` - 1; the bias of the remainder is far below what anybody could count here.
    fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    fn one_of<'list>(&mut self, list: &[&'list str]) -> &'list str {
        let index = self.below(list.len() as u64);
        list[usize::try_from(index).expect("an index is below a usize")]
    }
}

#[rustfmt::skip]
const WOMEN: &[&str] = &[
    "Agustina", "Alejandra", "Alma", "Ana", "Antonella", "Ámbar", "Belén", "Bianca", "Camila", "Candelaria",
    "Carolina", "Catalina", "Cecilia", "Claudia", "Delfina", "Elena", "Emilia", "Estefanía", "Florencia", "Graciela",
    "Guadalupe", "Inés", "Jazmín", "Josefina", "Julieta", "Lara", "Lourdes", "Lucía", "Luján", "Maite",
    "Malena", "María", "Maria", "Martina", "Mía", "Micaela", "Milagros", "Mónica", "Morena", "Noelia",
    "Norma", "Olivia", "Paula", "Pilar", "Rocío", "Rosa", "Sofía", "Sol", "Susana", "Valentina",
    "Victoria", "Ximena", "Yamila", "Zoe",
];

#[rustfmt::skip]
const MEN: &[&str] = &[
    "Agustín", "Agustin", "Alan", "Andrés", "Ángel", "Axel", "Bautista", "Benjamín", "Bruno", "Carlos",
    "Ciro", "Cristian", "Damián", "Daniel", "Diego", "Emiliano", "Esteban", "Facundo", "Federico", "Felipe",
    "Franco", "Gael", "Gastón", "Gonzalo", "Héctor", "Hernán", "Ignacio", "Iñaki", "Iván", "Joaquín",
    "Jorge", "José", "Juan", "Julián", "Lautaro", "Leandro", "Lisandro", "Lucas", "Luis", "Marcos",
    "Martín", "Mateo", "Matías", "Maximiliano", "Nahuel", "Néstor", "Nicolás", "Nicolas", "Octavio", "Ramón",
    "Raúl", "Rodrigo", "Santino", "Sebastián", "Simón", "Thiago", "Tomás", "Ulises", "Valentín", "Walter",
];

#[rustfmt::skip]
const LAST_NAMES: &[&str] = &[
    "Acosta", "Aguirre", "Agüero", "Alvarez", "Álvarez", "Arce", "Argüello", "Ávila", "Báez", "Barrionuevo",
    "Benítez", "Bravo", "Bustamante", "Cabrera", "Cáceres", "Cardozo", "Carrizo", "Castillo", "Castro", "Chávez",
    "Córdoba", "Coronel", "Correa", "D'Angelo", "De la Fuente", "Del Valle", "Di Pietro", "Díaz", "Domínguez", "Duarte",
    "Echagüe", "Escobar", "Espíndola", "Farías", "Fernández", "Ferreyra", "Figueroa", "Franco", "Garay", "García",
    "Giménez", "Godoy", "Gómez", "González", "Güemes", "Gutiérrez", "Guzmán", "Hernández", "Herrera", "Ibáñez",
    "Juárez", "Ledesma", "Leiva", "López", "Lucero", "Luna", "Maidana", "Maldonado", "Mamani", "Mansilla",
    "Martínez", "Medina", "Méndez", "Miño", "Miranda", "Molina", "Montenegro", "Morales", "Moreno", "Moyano",
    "Muñoz", "Navarro", "Núñez", "Ojeda", "Olivera", "Ortiz", "Páez", "Paz", "Peña", "Peralta",
    "Pereyra", "Pérez", "Ponce", "Quintana", "Quiroga", "Ramírez", "Ríos", "Rivero", "Roldán", "Romero",
    "Ruiz", "Sáenz Peña", "Sánchez", "Sandoval", "Sosa", "Suárez", "Toledo", "Toloza", "Vázquez", "Vega",
    "Velázquez", "Vera", "Villalba", "Yañez", "Zárate", "Zúñiga",
];

#[rustfmt::skip]
const NICKNAMES: &[&str] = &[
    "Beto", "Cacho", "Chiche", "Coca", "Ñata", "Negra", "Nené", "Pepe", "Piru", "Pocha",
    "Porota", "Tito", "Toto", "Turca", "Yuyo", "Zulma",
];
