//! Functions of ARRAY values.
//!
//! `collectionOperations` of Spark 4.0. A result is described by the places its elements are taken from
//! ([`Gather`]), so that no element is looked into; elements are compared in Spark's order (`compare`). Here is the table
//! of the functions; a family of them is in one file each.

mod gather;
mod arguments;
mod elements;
mod sets;
mod sorting;
mod slice;
mod combine;

use std::cmp::Ordering;

use arrow::datatypes::DataType;

use super::Entry;
use super::scalar::{Bound, Types, entry};
use arguments::{list, one_element, same_list, two_lists, with_element};
pub(crate) use combine::concat;
use combine::{
    array, bind_array, bind_flatten, bind_join, bind_repeat, bind_zip, flatten, join, repeat, zip,
};
pub(super) use elements::limited;
pub(crate) use elements::not_zero;
use elements::{bind_insert, compact, contains, insert, insert_one, position, remove};
pub(crate) use gather::Gather;
use sets::{distinct, overlap, sets};
use slice::{bind_reverse, bind_size, bind_slice, reverse, size, slice};
use sorting::{bind_sort, extreme, sort_array, sorted};

/// Functions of arrays.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "array",
        Types::By(bind_array),
        array,
        ["stateless/build_nested_values", "expressions/collection"]
    ),
    entry!(
        "size" | "cardinality",
        Types::By(bind_size),
        size,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_size",
        Types::By(|bind| Ok(Bound::new([list(bind, 0)?], DataType::Int32))),
        size,
        ["expressions/collection"]
    ),
    entry!(
        "array_contains",
        Types::By(|bind| with_element(bind, |_| DataType::Boolean)),
        contains,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_position",
        Types::By(|bind| with_element(bind, |_| DataType::Int64)),
        position,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_remove",
        Types::By(|bind| with_element(bind, Clone::clone)),
        remove,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_append",
        Types::By(|bind| with_element(bind, Clone::clone)),
        |call| insert_one(call, |length| length),
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_prepend",
        Types::By(|bind| with_element(bind, Clone::clone)),
        |call| insert_one(call, |_| 0),
        ["expressions/collection"]
    ),
    entry!("array_insert", Types::By(bind_insert), insert, ["expressions/collection"]),
    entry!(
        "array_distinct",
        Types::By(same_list),
        distinct,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_compact",
        Types::By(same_list),
        compact,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "sort_array",
        Types::By(bind_sort),
        sort_array,
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_sort",
        Types::By(same_list),
        |call| sorted(call, |_| false, true),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "array_max",
        Types::By(one_element),
        |call| extreme(call, Ordering::Greater),
        ["stateless/array_functions", "expressions/collection"]
    ),
    entry!(
        "array_min",
        Types::By(one_element),
        |call| extreme(call, Ordering::Less),
        ["expressions/collection"]
    ),
    entry!("slice", Types::By(bind_slice), slice, ["stateless/array_functions", "expressions/collection"]),
    entry!(
        "reverse",
        Types::By(bind_reverse),
        reverse,
        ["stateless/array_functions", "stateless/string_basics", "expressions/collection"]
    ),
    entry!(
        "array_union",
        Types::By(two_lists),
        |call| sets(call, |_, _| true),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "array_intersect",
        Types::By(two_lists),
        |call| sets(call, |first, second| first && second),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "array_except",
        Types::By(two_lists),
        |call| sets(call, |first, second| first && !second),
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "arrays_overlap",
        Types::By(|bind| Ok(Bound { returns: DataType::Boolean, ..two_lists(bind)? })),
        overlap,
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "flatten",
        Types::By(bind_flatten),
        flatten,
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!(
        "arrays_zip",
        Types::By(bind_zip),
        zip,
        ["stateless/array_set_functions", "expressions/collection"]
    ),
    entry!("array_join", Types::By(bind_join), join, ["stateless/array_functions", "expressions/collection"]),
    entry!("array_repeat", Types::By(bind_repeat), repeat, ["expressions/collection"]),
];
