//! The columns of a text: those of the feed, matched by name; or those that its first rows settle for the feed.

use super::{Stage, Text};
use crate::io::TimeUnit;
use crate::io::chunks::Decode;
use crate::io::columnar::BATCH_ROWS;
use crate::io::columns::{Projection, Slot, time_type};
use crate::io::csv::decode::CsvDecoder;
use crate::io::live::ColumnType;
use crate::io::ndjson::decode::NdjsonDecoder;
use crate::io::ndjson::late::Late;
use crate::io::wire::{BATCH_VALUES, Refusal, chosen};
use arrow::datatypes::{DataType, SchemaRef};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

impl Text {
    /// The columns where all of them are named with their types.
    pub(super) fn named_types(&self) -> Option<SchemaRef> {
        let names = match (&self.wire.wanted, self.delimiter) {
            (Some(wanted), _) => wanted,
            (None, Some(_)) => &self.names,
            (None, None) => return None,
        };
        let is_time = |name: &String| self.wire.time.as_ref().is_some_and(|(time, _)| time == name);
        let is_typed = |name: &&String| self.wire.types.contains_key(*name) || is_time(name);
        if names.is_empty() || !names.iter().all(|name| is_typed(&name)) {
            return None;
        }
        let typed = names.iter().map(|name| (name.clone(), DataType::Float64)).collect();
        // A header that lacks one of them is found out when it is matched.
        self.schema_of(typed, false).ok()
    }

    /// The wanted columns; a wanted column that is not there is one that may come, unless the columns are `all`.
    pub(super) fn schema_of(&self, columns: Vec<(String, DataType)>, all: bool) -> Result<SchemaRef, String> {
        let is_time = |name: &String| self.wire.time.as_ref().is_some_and(|(time, _)| time == name);
        let named = |name: &String| match self.wire.types.get(name) {
            _ if is_time(name) => Some(time_type()),
            Some(ColumnType::F64 | ColumnType::F32) => Some(DataType::Float64),
            Some(ColumnType::I64) => Some(DataType::Int64),
            Some(ColumnType::Text) => Some(DataType::Utf8),
            None => None,
        };
        let columns: Vec<_> = columns
            .into_iter()
            .map(|(name, kind)| {
                let kind = named(&name).unwrap_or(kind);
                (name, kind)
            })
            .collect();
        chosen(&columns, &self.wire, |name| {
            let later = match self.wire.keys.contains(name) && !self.wire.numeric.contains(name) {
                true => DataType::Utf8,
                false => DataType::Float64,
            };
            (!all).then(|| named(name).unwrap_or(later))
        })
    }

    pub(super) fn decode_as(&mut self, schema: &SchemaRef) -> Result<(), Refusal> {
        let unit = self.wire.time.as_ref().map_or(TimeUnit::default(), |(_, unit)| *unit);
        let projection = Projection::all(schema, &self.wire.keys, unit)?;
        let decoder: Box<dyn Decode> = match self.delimiter {
            Some(delimiter) => {
                let names: HashSet<&String> = self.names.iter().collect();
                if let Some(lacking) = schema.fields().iter().find(|f| !names.contains(f.name())) {
                    let there: Vec<_> = self.names.iter().map(|name| format!("`{name}`")).collect();
                    let what = format!(
                        "it has no column `{}`, which the feed has; its columns are {}",
                        lacking.name(),
                        there.join(", ")
                    );
                    return Err(self.header_refusal(what));
                }
                let columns = schema.fields().iter().map(|field| field.name().as_str());
                let slots: HashMap<&str, Slot> = columns.zip(projection.slots.iter().copied()).collect();
                let slot = |name: &String| slots.get(name.as_str()).copied().unwrap_or(Slot::Skip);
                let plan = self.names.iter().map(slot).collect();
                Box::new(CsvDecoder::planned(
                    delimiter,
                    self.names.clone(),
                    plan,
                    projection,
                    false,
                ))
            }
            None => {
                let late = Arc::new(Late::new(&[], Vec::new()));
                Box::new(NdjsonDecoder::new(
                    schema,
                    projection,
                    &self.wire.keys,
                    late,
                    false,
                    false,
                ))
            }
        };
        self.rows_max = (BATCH_VALUES / schema.fields().len().max(1)).clamp(1, BATCH_ROWS);
        self.stage = Stage::Rows(decoder);
        Ok(())
    }
}
