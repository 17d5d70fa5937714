//! Lines are read back by other readers, and files are cut at every byte as a crash may leave them.

use super::*;
use crate::report::{KeyValue, Named, WindowBounds, example};
use crate::spec::{Spec, Window};
use crate::summary::Summary;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn feed() -> Feed {
    let window = Window::tumbling(Duration::from_secs(600));
    Feed {
        name: "main".into(),
        spec: Spec::new().by(["station"]).window(window),
        ewm: false,
    }
}

/// Six reports; the second station's name needs quotes and spans lines.
fn reports() -> Vec<Emission> {
    let mut groups = example::keyed_windows().groups;
    for group in groups.iter_mut().skip(1).step_by(2) {
        group.key = Some(Named::from_iter([(
            "station".into(),
            KeyValue::Text("b\n\"c\",".into()),
        )]));
    }
    let groups = groups.into_iter();
    groups
        .map(|group| Emission::new("main".into(), group, Summary::default()))
        .collect()
}

fn alert(ended: bool) -> Alert {
    let window = WindowBounds::Time {
        start_ns: 0,
        end_ns: 1_000_000_000,
    };
    Alert {
        feed: "main".into(),
        alert: "fever".into(),
        key: None,
        started: Some(window),
        ended: ended.then_some(window),
        value: Some(39.5),
    }
}

fn opened(path: &Path, format: SinkFormat, state: Option<&SinkState>) -> Result<Box<dyn Sink>> {
    open("file".into(), path, format, &[feed()], state)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn ndjson_lines_are_the_reports_and_the_alerts() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out.ndjson");
    let mut sink = opened(&path, SinkFormat::Ndjson, None).unwrap();
    let mut reports = reports();
    reports[1].part = 3;
    reports[2].is_final = false;
    reports[2].revision = 4;
    reports[0].group.columns.values_mut()[0].ewm_mean = Some(2.5);
    sink.write(&reports[..2]).unwrap();
    sink.alert(&alert(true)).unwrap();
    sink.write(&reports[2..]).unwrap();
    sink.flush().unwrap();
    let lines: Vec<serde_json::Value> = text(&path).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0]["feed"], "main");
    assert_eq!(lines[0]["key"], serde_json::json!({"station": "a"}));
    assert_eq!(lines[0]["columns"]["temp"]["ewm_mean"], 2.5);
    assert_eq!(lines[1]["key"], serde_json::json!({"station": "b\n\"c\","}));
    assert_eq!((&lines[1]["part"], &lines[1]["final"]), (&3.into(), &true.into()));
    assert_eq!(lines[1]["columns"]["temp"]["mean"], 10.1);
    assert!(lines[1]["columns"]["temp"].get("ewm_mean").is_none());
    assert_eq!((&lines[3]["revision"], &lines[3]["final"]), (&4.into(), &false.into()));
    assert_eq!(lines[3]["window"]["start"], "2015-01-01T00:10:00Z");
    let expected = serde_json::json!({"alert": {
        "feed": "main", "alert": "fever", "key": null, "value": 39.5,
        "started": {"start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:00:01Z"},
        "ended": {"start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:00:01Z"},
    }});
    assert_eq!(lines[2], expected);
}

#[test]
fn a_csv_file_has_one_header_however_often_it_is_opened() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out.csv");
    for report in reports().chunks(2) {
        let mut sink = opened(&path, SinkFormat::Csv, None).unwrap();
        sink.write(report).unwrap();
        sink.alert(&alert(false)).unwrap();
        sink.finish().unwrap();
    }
    let text = text(&path);
    let header = "feed,station,window_start,window_end,final,revision,part,column,count,missing,sum,mean,variance,std,\
                  skewness,kurtosis,min,max\n";
    assert!(text.starts_with(header), "{text}");
    assert_eq!(text.matches("feed,").count(), 1);
    let first = "main,a,2015-01-01T00:00:00Z,2015-01-01T00:10:00Z,true,0,0,temp,60,0,6,0.1,1,1,0,-1.2,-1.9,2.1\n";
    assert!(text[header.len()..].starts_with(first), "{text}");
    assert_eq!(
        text.matches("main,\"b\n\"\"c\"\",\",2015-01-01T00:").count(),
        3,
        "{text}"
    );

    let other = Feed {
        spec: Spec::new(),
        ..feed()
    };
    let error = open("file".into(), &path, SinkFormat::Csv, &[other], None)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("out.csv") && error.contains("feed,station"), "{error}");
}

#[test]
fn a_file_is_cut_back_to_a_checkpoint_whatever_a_crash_left() {
    for (format, name) in [(SinkFormat::Ndjson, "out.ndjson"), (SinkFormat::Csv, "out.csv")] {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(name);
        let reports = reports();
        let mut sink = opened(&path, format, None).unwrap();
        sink.write(&reports[..1]).unwrap();
        let state = sink.checkpoint().unwrap();
        let checked = std::fs::read(&path).unwrap().len();
        sink.write(&reports[1..3]).unwrap();
        sink.flush().unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert!(whole.len() > checked + 100);
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let sink = opened(&path, format, Some(&state));
            if length < checked {
                let error = sink.err().unwrap();
                let text = error.to_string();
                for part in [
                    name,
                    &format!("{length} bytes"),
                    &format!("{checked} bytes"),
                    "--discard-state",
                ] {
                    assert!(text.contains(part), "{text:?} lacks {part:?}");
                }
                assert_eq!(error.exit_code(), 78);
                continue;
            }
            let mut sink = sink.unwrap();
            sink.write(&reports[1..3]).unwrap();
            sink.flush().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{name} cut at {length}");
        }
    }
}

#[test]
fn without_a_checkpoint_a_file_keeps_its_whole_rows() {
    for (format, name) in [(SinkFormat::Ndjson, "out.ndjson"), (SinkFormat::Csv, "out.csv")] {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(name);
        let reports = reports();
        // Where each report ends, as the lengths between flushes say.
        let mut sink = opened(&path, format, None).unwrap();
        let mut ends = vec![0];
        sink.flush().unwrap();
        ends.push(std::fs::read(&path).unwrap().len());
        for report in &reports[..2] {
            sink.write(std::slice::from_ref(report)).unwrap();
            sink.flush().unwrap();
            ends.push(std::fs::read(&path).unwrap().len());
        }
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut sink = opened(&path, format, None).unwrap();
            sink.write(&reports[..1]).unwrap();
            sink.flush().unwrap();
            let kept = *ends.iter().filter(|end| **end <= length).max().unwrap();
            let mut expected = whole[..kept.max(ends[1])].to_vec();
            expected.extend_from_slice(&whole[ends[1]..ends[2]]);
            assert_eq!(std::fs::read(&path).unwrap(), expected, "{name} cut at {length}");
        }
    }
}

#[test]
fn nothing_is_appended_to_the_files_of_others() {
    let place = tempfile::tempdir().unwrap();
    for (format, name) in [(SinkFormat::Ndjson, "notes.ndjson"), (SinkFormat::Csv, "notes.csv")] {
        let path = place.path().join(name);
        std::fs::write(&path, "Dear diary,\nno line end").unwrap();
        let error = opened(&path, format, None).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("\"D"), "{error}");
        assert_eq!(text(&path), "Dear diary,\nno line end");
    }
    let error = opened(place.path(), SinkFormat::Ndjson, None).err().unwrap();
    assert_eq!(error.exit_code(), 74);
    let missing = place.path().join("no/out.ndjson");
    let error = opened(&missing, SinkFormat::Ndjson, None).err().unwrap();
    assert!(error.to_string().contains("no/out.ndjson"), "{error}");
}

#[test]
fn the_checkpoint_of_another_file_is_none_of_this() {
    let place = tempfile::tempdir().unwrap();
    let mut sink = opened(&place.path().join("a.ndjson"), SinkFormat::Ndjson, None).unwrap();
    sink.write(&reports()).unwrap();
    let state = sink.checkpoint().unwrap();
    let path = place.path().join("b.ndjson");
    opened(&path, SinkFormat::Ndjson, Some(&state))
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(text(&path), "");
    let error = opened(&path, SinkFormat::Ndjson, Some(&SinkState(b"?".to_vec())))
        .err()
        .unwrap();
    assert_eq!(error.exit_code(), 65, "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_an_error_that_names_it() {
    let mut sink = opened(Path::new("/dev/full"), SinkFormat::Ndjson, None).unwrap();
    sink.write(&reports()).unwrap();
    let error = sink.flush().unwrap_err();
    assert_eq!(error.exit_code(), 74);
    let text = error.to_string();
    assert!(text.contains("/dev/full") && text.contains("No space left"), "{text}");
}

/// Takes a few bytes at a time, and none at all while there is no room.
#[derive(Debug, Clone, Default)]
struct Disk {
    taken: Arc<Mutex<Vec<u8>>>,
    room: Arc<Mutex<usize>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut room = self.room.lock().unwrap();
        let n = bytes.len().min(*room).min(7);
        if n == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        *room -= n;
        self.taken.lock().unwrap().extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_is_full_for_a_while_gets_every_byte_once() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out.ndjson");
    let mut sink = opened(&path, SinkFormat::Ndjson, None).unwrap();
    sink.write(&reports()).unwrap();
    sink.finish().unwrap();
    let expected = std::fs::read(&path).unwrap();
    let disk = Disk::default();
    let mut sink = LinesSink {
        name: "disk".into(),
        path: "disk".into(),
        output: Output::Stream(Box::new(disk.clone())),
        form: Form::Ndjson,
        pending: Vec::new(),
        name_durable: true,
    };
    let mut failures = 0;
    for report in reports() {
        sink.write(&[report]).unwrap();
        *disk.room.lock().unwrap() += 100;
        failures += u32::from(sink.flush().is_err());
    }
    assert_eq!(failures, 6, "each report has more than 100 bytes");
    *disk.room.lock().unwrap() = usize::MAX;
    sink.flush().unwrap();
    assert_eq!(*disk.taken.lock().unwrap(), expected);
}

#[test]
fn what_waits_is_bounded_where_nothing_is_taken() {
    let mut sink = LinesSink {
        name: "disk".into(),
        path: "disk".into(),
        output: Output::Stream(Box::new(Disk::default())),
        form: Form::Ndjson,
        pending: Vec::new(),
        name_durable: true,
    };
    let reports = reports();
    let taken = (0..10_000).take_while(|_| sink.write(&reports).is_ok()).count();
    assert!((10..9_999).contains(&taken), "{taken}");
    assert!(sink.pending.len() < 2 * BUFFER_BYTES, "{}", sink.pending.len());
}
