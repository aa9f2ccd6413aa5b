//! Writing Protocol Buffers, as far as OTLP needs it. Zero and empty values are left out, as proto3 has it.

/// A message under way.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.delimited(field, bytes);
        }
    }

    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.delimited(field, &inner.0);
    }

    pub(super) fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.key(field, VARINT);
            self.varint(number);
        }
    }

    pub(super) fn fixed(&mut self, field: u32, number: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn double(&mut self, field: u32, number: f64) {
        self.fixed(field, number.to_bits());
    }

    /// Numbers of eight bytes each, one behind the other.
    pub(super) fn packed(&mut self, field: u32, numbers: impl Iterator<Item = u64>) {
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        self.bytes(field, &bytes);
    }

    /// An attribute of OTLP (`KeyValue`).
    pub(super) fn attribute(&mut self, field: u32, key: &str, value: &Value<'_>) {
        self.message(field, |attribute| {
            attribute.text(1, key);
            attribute.message(2, |any| match value {
                Value::Text(text) => any.delimited(1, text.as_bytes()),
                Value::Number(number) => {
                    any.key(3, VARINT);
                    any.varint(*number);
                }
                Value::Bool(is) => {
                    any.key(2, VARINT);
                    any.varint(u64::from(*is));
                }
                Value::Double(number) => any.double(4, *number),
                Value::Texts(texts) => any.message(5, |list| {
                    for text in *texts {
                        list.message(1, |any| any.delimited(1, text.as_bytes()));
                    }
                }),
            });
        });
    }

    fn delimited(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or_default());
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Bool(bool),
    Double(f64),
    Texts(&'a [String]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_the_format_has_them() {
        let mut message = Message::default();
        message.number(1, 150);
        message.text(2, "testing");
        message.message(3, |inner| inner.number(1, 150));
        message.number(4, 0);
        message.packed(5, [1].into_iter());
        // The first three are the examples of the format's own description.
        let expected = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x2a\x08\x01\0\0\0\0\0\0\0";
        assert_eq!(message.into_bytes(), expected);
    }
}
