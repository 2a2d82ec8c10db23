//! Lists made of the elements of an array, by place: how every function here returns an ARRAY.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;

use crate::query::coerce::types::element_of;

/// Lists made of elements of one array, by place; `None` is a null element.
pub(crate) struct Gather {
    places: Vec<Option<u32>>,
    ends: Vec<i32>,
    valid: Vec<bool>,
}

impl Gather {
    pub(crate) fn new(rows: usize) -> Gather {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Gather { places: Vec::new(), ends, valid: Vec::with_capacity(rows) }
    }

    pub(crate) fn place(&mut self, place: Option<usize>) {
        self.places.push(place.map(|place| u32::try_from(place).expect("an array has 2^31 values at most")));
    }

    /// Ends the list of a row; a null list has no elements.
    pub(crate) fn close(&mut self, valid: bool) {
        self.ends.push(i32::try_from(self.places.len()).expect("an array has 2^31 values at most"));
        self.valid.push(valid);
    }

    /// The lists over `values`.
    pub(crate) fn finish(self, values: &dyn Array, returns: &DataType) -> Result<ArrayRef> {
        let places = UInt32Array::from(self.places);
        let values = take(values, &places, None)?;
        let element = element_of(returns).cloned().unwrap_or(DataType::Null);
        let values = crate::query::cast::relabel(&values, &element)?;
        let field = Arc::new(Field::new("element", element, true));
        let nulls = NullBuffer::from(self.valid);
        Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::new(self.ends.into()), values, Some(nulls))?))
    }
}

/// Where the elements of a row lie in the list's values.
pub(super) fn span(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::query::coerce::types::list_of;

    #[test]
    fn a_list_is_gathered_by_place() {
        let values = Int32Array::from(vec![1, 2, 3]);
        let mut lists = Gather::new(2);
        lists.place(Some(2));
        lists.place(None);
        lists.close(true);
        lists.close(false);
        let made = lists.finish(&values, &list_of(DataType::Int32)).unwrap();
        let expected = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(3), None]), None]);
        assert_eq!(made.as_list::<i32>().value(0).as_ref(), expected.value(0).as_ref());
        assert!(made.is_null(1));
    }
}
