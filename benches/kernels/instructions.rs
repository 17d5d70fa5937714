//! Every kernel on small rows, on one thread, for `scripts/bench-gate` to count instructions.
//!
//! Under valgrind's callgrind, which counts what [`counted_by_the_gate`] does and nothing else, each call is one case. The
//! names go to standard output in the order of the calls, each with the number of its values, behind the instruction set of
//! the kernels. A case whose answer is wrong ends the program.

#![expect(clippy::print_stdout, reason = "the names are what the program is for")]

mod cases;

use cases::Numbers;
use millstream::backend::cpu::instruction_set;
use std::hint::black_box;

/// Values a case: several leaves and micro-batches, and a minute for all cases under valgrind.
const VALUES: usize = 1 << 18;

/// What is counted. The name is the one that `scripts/bench-gate` gives to callgrind.
#[inline(never)]
fn counted_by_the_gate(run: &mut dyn FnMut() -> Numbers) -> Numbers {
    black_box(run())
}

fn main() {
    // The only thread of the pool is this one: callgrind counts thread by thread, and how often a thread that waits looks
    // for work differs from run to run.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().expect("the first use of the pool");
    println!("{}", instruction_set());
    for mut case in cases::all(VALUES, "") {
        // Once before, as some things are made once a process.
        case.verify().expect("a right answer");
        let answer = counted_by_the_gate(&mut case.run);
        case.judge(&answer).expect("a right answer");
        println!("{}\t{}", case.name, case.values);
    }
}
