//! The pages of one row group, each looked at before its values are decoded.
//!
//! A dictionary page says how many values it holds, and the decoder makes room for all of them before it reads the
//! first. Memory that the system refuses ends the whole program, so what a page claims is held to what it has: every
//! value of a dictionary takes a byte at least.

use super::lanes::Input;
use super::region::Region;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use std::sync::Arc;

/// One row group of an input.
pub(super) struct Group<'a> {
    pub(super) input: &'a Input,
    pub(super) index: usize,
    pub(super) rows: usize,
}

impl RowGroups for Group<'_> {
    fn num_rows(&self) -> usize {
        self.rows
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let region = Arc::new(self.input.region.clone());
        let chunk = self.metadata().row_group(self.index).column(column);
        let reader = SerializedPageReader::new(region, chunk, self.rows, None)?;
        Ok(Box::new(Chunk(Some(Pages(reader)))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata().row_group(self.index)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.input.metadata.metadata()
    }
}

/// The only chunk of a column in one row group.
struct Chunk(Option<Pages>);

impl Iterator for Chunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for Chunk {}

/// Pages whose claims have been checked.
struct Pages(SerializedPageReader<Region>);

fn checked(page: Option<Page>) -> Result<Option<Page>> {
    if let Some(Page::DictionaryPage { buf, num_values, .. }) = &page
        && *num_values as usize > buf.len()
    {
        return Err(ParquetError::General(format!(
            "a dictionary of {} bytes claims to hold {num_values} values",
            buf.len()
        )));
    }
    Ok(page)
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        checked(self.0.get_next_page()?)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.0.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        checked(self.0.take_deferred_dictionary()?)
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.0.at_record_boundary()
    }
}
