//! Partitions that several processes share: where one stands, so that whoever is given it goes on there.
//!
//! Nothing but the group keeps that place. It is where the oldest row of a window that is open lies: who takes a partition
//! over reads from there again and has the windows that are open as they were, while those that were reported before are
//! not reported again. What a row counts for depends on the rows of its partition alone, so whoever reads them, and
//! however often, makes the same reports.

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharedPlace {
    /// The partition.
    pub partition: u32,
    /// From where it is read: all rows of the windows that are open lie behind it, as far as they are there still.
    pub from: u64,
    /// Up to here rows have been counted.
    pub counted: u64,
    /// Windows that end up to here have been reported, in nanoseconds since 1970; all are open at `i64::MIN`.
    pub closed_ns: i64,
    /// The watermark where it is read from, as engines store it; none before the first row.
    pub watermark: Vec<u8>,
    /// What the windows were made for, as a checksum of the configuration; none where only an offset is known.
    pub made_for: Option<u32>,
}

/// Where the partitions stand that a process was given together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharedPlaces {
    /// When they were given: [`Given::assignment`].
    pub assignment: u64,
    /// Where each stands.
    pub places: Vec<SharedPlace>,
}

/// The partitions that a process has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Rises each time that partitions are given or taken away.
    pub assignment: u64,
    /// How many partitions there are, whoever has them.
    pub partitions: u32,
    /// Those that it had before, and that nobody else had meanwhile.
    pub kept: Vec<u32>,
    /// Where the others stand.
    pub places: Vec<SharedPlace>,
}

/// The form of the text.
const VERSION: &str = "millstream-1";

/// As many bytes as a watermark has at most.
const WATERMARK_BYTES_MAX: usize = 1024;

impl SharedPlace {
    /// What is stored beside the offset: printable, without the partition and the offset themselves.
    pub fn to_text(&self) -> String {
        let hex: String = self.watermark.iter().map(|byte| format!("{byte:02x}")).collect();
        let made_for = self.made_for.unwrap_or_default();
        format!("{VERSION} {made_for:08x} {} {} {hex}", self.counted, self.closed_ns)
    }

    /// The place of a partition at this offset, with what is stored beside it; nothing where that is not of this form,
    /// as it is where something else committed the offset.
    pub fn from_text(partition: u32, from: u64, text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (version, made_for) = (parts.next()?, parts.next()?);
        let (counted, closed_ns, hex) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = hex.len() % 2 == 0 && hex.len() <= 2 * WATERMARK_BYTES_MAX && hex.is_ascii();
        if version != VERSION || parts.next().is_some() || !is_hex {
            return None;
        }
        let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).ok();
        Some(Self {
            partition,
            from,
            counted: counted.parse().ok().filter(|counted| *counted >= from)?,
            closed_ns: closed_ns.parse().ok()?,
            made_for: Some(u32::from_str_radix(made_for, 16).ok()?),
            watermark: (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        for (closed_ns, watermark) in [(i64::MIN, vec![]), (-7, vec![0, 255, 16]), (i64::MAX, vec![9; 200])] {
            let place = SharedPlace {
                partition: 3,
                from: 17,
                counted: 900,
                closed_ns,
                watermark,
                made_for: Some(0x12ab),
            };
            assert_eq!(SharedPlace::from_text(3, 17, &place.to_text()), Some(place));
        }
        for text in [
            "",
            "else",
            "millstream-1",
            "millstream-1 ff 20 7",
            "millstream-2 ff 20 7 00",
            "millstream-1 fg 20 7 00",
            "millstream-1 ff 16 7 00",
            "millstream-1 ff 20 7 0",
            "millstream-1 ff 20 7 0g",
            "millstream-1 ff 20 7 \u{e9}\u{e9}",
            "millstream-1 ff 20 7 00 1",
        ] {
            assert_eq!(SharedPlace::from_text(3, 17, text), None, "{text}");
        }
    }
}
