//! The operations of arithmetic, and what becomes of a result that there is not.

/// An operator with a decimal result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    /// The remainder that is never negative.
    Pmod,
}

/// What an overflow or a division by zero becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFault {
    Raise,
    /// Integers wrap, decimals and divisions by zero are NULL.
    Wrap,
    Null,
}
