//! How the rows of a matrix or a model are cut: into runs that workgroups take, and groups of runs that are folded.

use super::load::Mode;

/// Rows of a run of a model: four a lane.
pub(super) const MODEL_RUN_ROWS: usize = 1024;
/// Rows of a run of a matrix at least.
const MATRIX_RUN_ROWS: usize = 256;
/// Workgroups that a matrix is spread over at most: enough for any GPU to be busy.
const MATRIX_WORKGROUPS: usize = 1024;
/// Runs that are added up on the device, one after the other; the host adds up what comes of it.
const FOLD_RUNS: usize = 64;

/// How the rows of a matrix are cut: tiles of the upper triangle, runs, groups of runs that are folded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) side: usize,
    /// Rows of tiles.
    pub(super) tiles: usize,
    pub(super) run_rows: usize,
    pub(super) runs: usize,
    pub(super) groups: usize,
}

impl Cut {
    pub(super) fn matrix(mode: Mode, d: usize, rows: usize) -> Self {
        let side = mode.side();
        let tiles = d.div_ceil(side);
        let most = (MATRIX_WORKGROUPS / pairs(tiles).max(1)).max(1);
        let wanted = rows.div_ceil(MATRIX_RUN_ROWS).clamp(1, most);
        // Masks begin at whole words, and steps are whole.
        let run_rows = rows.div_ceil(wanted).next_multiple_of(64);
        let runs = rows.div_ceil(run_rows).max(1);
        Self {
            side,
            tiles,
            run_rows,
            runs,
            groups: runs.div_ceil(FOLD_RUNS),
        }
    }

    pub(super) fn model(rows: usize) -> Self {
        let runs = rows.div_ceil(MODEL_RUN_ROWS).max(1);
        Self {
            side: 0,
            tiles: 0,
            run_rows: MODEL_RUN_ROWS,
            runs,
            groups: runs.div_ceil(FOLD_RUNS),
        }
    }

    pub(super) fn pairs(&self) -> usize {
        pairs(self.tiles)
    }

    /// Runs of group `k`.
    pub(super) fn runs_of(&self, k: usize) -> usize {
        FOLD_RUNS.min(self.runs - k * FOLD_RUNS)
    }

    pub(super) fn first_run(&self, k: usize) -> usize {
        k * FOLD_RUNS
    }
}

fn pairs(tiles: usize) -> usize {
    tiles * (tiles + 1) / 2
}
