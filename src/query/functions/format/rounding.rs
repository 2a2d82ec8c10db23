//! Decimal digits, as text, rounded to a number of places.

/// Digits with `scale` of them behind the point, rounded half to even at `places`: before the point, and behind it.
pub(super) fn half_even(digits: &str, scale: usize, places: usize) -> (String, String) {
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let point = padded.len() - scale;
    if places >= scale {
        return (padded[..point].to_owned(), with_zeros(&padded[point..], places));
    }
    let cut = point + places;
    let (kept, lost) = padded.split_at(cut);
    let half = lost.starts_with('5') && lost[1..].bytes().all(|byte| byte == b'0');
    let odd = kept.bytes().last().is_some_and(|byte| byte % 2 == 1);
    let up = if half { odd } else { lost.as_bytes()[0] >= b'5' };
    let mut kept: Vec<u8> = kept.bytes().collect();
    if up {
        let mut at = kept.len();
        loop {
            if at == 0 {
                kept.insert(0, b'1');
                break;
            }
            at -= 1;
            if kept[at] == b'9' {
                kept[at] = b'0';
            } else {
                kept[at] += 1;
                break;
            }
        }
    }
    let kept: String = kept.into_iter().map(char::from).collect();
    let (whole, fraction) = kept.split_at(kept.len() - places);
    (whole.to_owned(), fraction.to_owned())
}

/// Digits rounded half up to `places` behind the point.
pub(super) fn half_up(digits: &str, places: usize) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() <= places {
        return if places == 0 {
            whole.to_owned()
        } else {
            format!("{whole}.{}", with_zeros(fraction, places))
        };
    }
    // A digit that makes half_even round as half up does.
    let nudged = format!("{whole}{fraction}1");
    let (whole, fraction) = half_even(&nudged, fraction.len() + 1, places);
    if places == 0 { whole } else { format!("{whole}.{fraction}") }
}

/// Digits with zeros behind them, up to `length`. Widths of `format!` end at 65,535.
pub(super) fn with_zeros(digits: &str, length: usize) -> String {
    let mut digits = digits.to_owned();
    digits.extend(std::iter::repeat_n('0', length.saturating_sub(digits.len())));
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_rounded_half_to_even_and_half_up() {
        assert_eq!(half_even("25", 1, 0), ("2".into(), String::new()));
        assert_eq!(half_even("35", 1, 0), ("4".into(), String::new()));
        assert_eq!(half_even("9995", 3, 2), ("10".into(), "00".into()));
        assert_eq!(half_up("2.5", 0), "3");
        assert_eq!(half_up("0.125", 2), "0.13");
        assert_eq!(half_up("1", 2), "1.00");
        assert_eq!(half_up("1.5", 100_000).len(), 100_002);
    }
}
