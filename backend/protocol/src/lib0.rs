//! The primitives of lib0, the encoding library beneath Yjs, with strict length checks.
//!
//! Format: <https://github.com/dmonad/lib0>, `encoding.js` and `decoding.js`.
//! A reader borrows from the frame and allocates nothing, so a length prefix cannot make it allocate;
//! a length larger than the bytes left is refused before anything else happens.

/// The largest number lib0 can write, JavaScript's largest safe integer.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of something.
    #[error("the bytes end too early")]
    Truncated,
    /// A number has needless bytes or is larger than 2^53 - 1.
    #[error("a number is not in its shortest form or too large")]
    BadNumber,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    BadString,
    /// A message, sub-message or kind this protocol does not have.
    #[error("unknown message kind {0}")]
    UnknownKind(u64),
    /// Bytes are left after the end of the message.
    #[error("{0} bytes are left over")]
    Trailing(usize),
    /// A count, size or nesting is over its limit.
    #[error("{0} is over its limit")]
    TooLarge(&'static str),
    /// Well formed, but not allowed here.
    #[error("{0}")]
    NotAllowed(&'static str),
}

/// Reads lib0 values from a frame, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A `varUint`: seven bits per byte, low group first, shortest form, at most 2^53 - 1.
    #[inline]
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                if byte == 0 || number > MAX_SAFE_INTEGER {
                    return Err(DecodeError::BadNumber);
                }
                return Ok(number);
            }
            shift += 7;
            // Eight groups hold 56 bits, more than any number that is allowed.
            if shift > 49 {
                return Err(DecodeError::BadNumber);
            }
        }
    }

    /// A `varUint` that counts or measures what follows: never more than the bytes left.
    #[inline]
    pub fn length(&mut self) -> Result<usize, DecodeError> {
        let length = self.uint()?;
        if length > self.rest.len() as u64 { Err(DecodeError::Truncated) } else { Ok(length as usize) }
    }

    /// Exactly this many bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// A `varBytes`: length, then bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    /// A `varString`: `varBytes` of strict UTF-8.
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::BadString)
    }

    /// Succeeds when nothing is left.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Appends a `varUint`.
#[inline]
pub fn write_uint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a `varBytes`.
#[inline]
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a `varString`.
#[inline]
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    write_bytes(out, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [(u64, &[u8]); 7] = [
        (0, &[0x00]),
        (127, &[0x7f]),
        (128, &[0x80, 0x01]),
        (300, &[0xac, 0x02]),
        (16384, &[0x80, 0x80, 0x01]),
        (1 << 32, &[0x80, 0x80, 0x80, 0x80, 0x10]),
        (MAX_SAFE_INTEGER, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];

    #[test]
    fn numbers_are_written_and_read_as_lib0_does() {
        for (number, bytes) in NUMBERS {
            let mut out = Vec::new();
            write_uint(&mut out, number);
            assert_eq!(out, bytes);
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.uint(), Ok(number));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn long_forms_and_large_numbers_are_refused() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xff; 8][..],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10][..],
            &[0xff; 20],
        ] {
            assert_eq!(Reader::new(bytes).uint(), Err(DecodeError::BadNumber), "{bytes:02x?}");
        }
        assert_eq!(Reader::new(&[0x80]).uint(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[]).uint(), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused_before_it_is_used() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0x7f, 1]).bytes(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[2, 0xc3, 0x28]).string(), Err(DecodeError::BadString));
        let mut out = Vec::new();
        write_string(&mut out, "aé👩");
        assert_eq!(out, [0x07, 0x61, 0xc3, 0xa9, 0xf0, 0x9f, 0x91, 0xa9]);
        assert_eq!(Reader::new(&out).string(), Ok("aé👩"));
    }
}
