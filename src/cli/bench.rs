//! `millstream bench`: every summary on every backend, verified and timed.

use super::Log;
use super::computing::PrecisionName;
use super::devices::Form;
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::bench::{Contender, Grid, run as measure};
use crate::error::{Error, Result};
use crate::io::OutputFile;
use crate::machine::{Cache, Opened, gpu, measure as costs};
use crate::planner::{Costs, Part, Planner, Side};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::PathBuf;

/// Measure every summary on every backend of this machine, and verify the results
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Rows of the cells
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = count)]
    #[arg(default_values = ["1000", "10000", "100000", "1000000"])]
    rows: Vec<usize>,
    /// Columns of the cells
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = count, default_values = ["8", "64"])]
    columns: Vec<usize>,
    /// Leave cells out that have more values
    #[arg(long, value_name = "N", value_parser = count, default_value_t = Grid::VALUES_MAX)]
    max_values: usize,
    /// Summaries [default: all]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    summaries: Vec<Summary>,
    /// Backends; gpu fails if there is none [default: cpu, and gpu where there is one]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    backends: Vec<BackendName>,
    /// How exactly to compute [default: exact; fast on a GPU without f64]
    #[arg(long, value_enum)]
    precision: Option<PrecisionName>,
    /// Let a software Vulkan adapter count as a GPU (for tests)
    #[arg(long)]
    software_adapter: bool,
    /// How long each backend is measured in each cell; three runs at least
    #[arg(long, value_name = "S", default_value_t = 0.2)]
    seconds: f64,
    /// Few cells, measured shortly: whether it works at all
    #[arg(long, conflicts_with_all = ["rows", "columns", "seconds"])]
    quick: bool,
    /// The form
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
    /// Where the JSON goes, besides the table on standard output (with --format json: instead)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "The GPU takes part twice: with rows in host memory, and with rows that were uploaded before. \
    Backends take turns, so that what disturbs one disturbs all; the median counts. Every result is compared with a \
    reference of two passes in twice the working precision: one that is wrong is marked, and the exit status is 1.\n\n\
    GB/s counts 8 bytes a value, GFLOP/s d (d + 1) operations a row of a covariance or regression of d columns. \
    The JSON (schema millstream.bench/1) holds measurements (summary, rows, columns, backend, place host or device, \
    seconds with least and greatest, rates, speed_up over the CPU, verified with error and tolerance), decisions (what \
    --backend auto would choose by which estimates, and over_best, the time of the chosen over that of the quicker \
    one) and crossovers (the rows from which on the GPU is quicker).\n\n\
    Examples:\n  \
    millstream bench\n  \
    millstream bench --summaries covariance --columns 8,64,256 -o bench.json\n  \
    millstream bench --quick --backends cpu --format json\n\n\
    Exit status: 0 done, 1 a result is wrong or there is no GPU that was asked for, 2 wrong usage, 74 the output cannot \
    be written";

/// The grid of `--quick`.
const QUICK: (&[usize], &[usize], f64) = (&[1000, 50_000], &[8], 0.02);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendName {
    Cpu,
    Gpu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Summary {
    Moments2,
    Moments4,
    Covariance,
    Differences,
    Quantiles,
    Regression,
    Loss,
}

impl Summary {
    fn part(self) -> Part {
        match self {
            Self::Moments2 => Part::Moments2,
            Self::Moments4 => Part::Moments4,
            Self::Covariance => Part::Covariance,
            Self::Differences => Part::Differences,
            Self::Quantiles => Part::Quantiles,
            Self::Regression => Part::Regression,
            Self::Loss => Part::Loss,
        }
    }
}

/// A whole number from 1, also as 1e6.
fn count(text: &str) -> Result<usize, String> {
    let plain = text.parse::<usize>().ok();
    let scientific = || {
        let x: f64 = text.parse().ok()?;
        (x.fract() == 0.0 && (1.0..1e15).contains(&x)).then_some(x as usize)
    };
    plain
        .or_else(scientific)
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("`{text}` is not a whole number from 1"))
}

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let grid = arguments.grid()?;
    let output = arguments.output.as_deref().map(OutputFile::create).transpose()?;
    let cache = Cache::of_user();
    let mut notes = Vec::new();
    let mut opened = arguments.open(log)?;
    let precision = opened.as_ref().map_or(grid.precision, Opened::precision);
    let grid = Grid { precision, ..grid };
    let figures = opened.as_mut().map(Opened::figures).transpose()?;
    let planner = match &mut opened {
        Some(opened) => Some(Planner::new(Costs {
            cpu: costs::cpu_costs(&cache, false, &mut notes)?,
            gpu: Some(costs::gpu_costs(opened, &cache, false, &mut notes)?),
        })),
        None => None,
    };
    notes.iter().for_each(|note| log.note(note));
    let device = opened.as_ref().map(Opened::device);
    let mut cpu = Cpu::new();
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    if arguments.wants(BackendName::Cpu) {
        contenders.push(Contender {
            side: Side::Cpu,
            backend: &mut cpu as &mut dyn Backend,
            keeps_rows: false,
        });
    }
    if let Some(opened) = &mut opened {
        contenders.push(Contender {
            side: Side::Gpu,
            backend: opened.backend(),
            keeps_rows: true,
        });
    }
    let mut bench = measure(&grid, &mut contenders, planner.as_ref(), figures.as_ref(), &mut |_| {})?;
    bench.device = device;
    bench.figures = figures;
    let json = || serde_json::to_string_pretty(&bench).map_err(|e| Error::Failed(e.to_string()));
    let on_stdout = match (arguments.format, &output) {
        (Form::Json, Some(_)) => String::new(),
        (Form::Json, None) => json()? + "\n",
        (Form::Table, _) => bench.to_text(),
    };
    if let Some(output) = output {
        write(output, &(json()? + "\n"))?;
    }
    write(OutputFile::create("-".as_ref())?, &on_stdout)?;
    for decision in bench.poor_decisions() {
        log.note(&format!(
            "auto chose {} for {} of {} x {}, which took {:.2} of the quicker backend's time",
            decision.backend.name(),
            decision.summary.name(),
            decision.rows,
            decision.columns,
            decision.over_best.unwrap_or(f64::NAN)
        ));
    }
    match bench.failures().count() {
        0 => Ok(()),
        n => Err(Error::Failed(format!(
            "{n} of {} results are wrong",
            bench.measurements.len()
        ))),
    }
}

fn write(mut output: OutputFile, text: &str) -> Result<()> {
    output.write_all(text.as_bytes()).map_err(|e| output.error(e))?;
    output.finish()
}

impl Arguments {
    fn wants(&self, backend: BackendName) -> bool {
        self.backends.is_empty() || self.backends.contains(&backend)
    }

    fn grid(&self) -> Result<Grid> {
        let (rows, columns, seconds) = if self.quick {
            QUICK
        } else {
            (&self.rows[..], &self.columns[..], self.seconds)
        };
        if !(0.0..=3600.0).contains(&seconds) {
            return Err(Error::Usage(format!("--seconds {seconds} is not between 0 and 3600")));
        }
        let shapes = Grid::product(rows, columns, self.max_values);
        if shapes.is_empty() {
            return Err(Error::Usage(
                "every cell has more values than --max-values: raise it, or ask for fewer rows or columns".into(),
            ));
        }
        let mut summaries: Vec<Part> = self.summaries.iter().map(|s| s.part()).collect();
        if summaries.is_empty() {
            summaries = Part::ALL.to_vec();
        }
        Ok(Grid {
            shapes,
            summaries,
            seconds,
            precision: self.precision.map_or_else(Default::default, PrecisionName::precision),
        })
    }

    /// The GPU: an error if it is asked for by name and there is none, a note if it is not.
    fn open(&self, log: Log) -> Result<Option<Opened>> {
        if !self.wants(BackendName::Gpu) {
            return Ok(None);
        }
        let precision = self.precision.map(PrecisionName::precision);
        match gpu::open(self.software_adapter, precision, None) {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if self.backends.is_empty() => {
                log.note(&format!("only the CPU is measured: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
