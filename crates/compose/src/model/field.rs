//! How a value of the tree becomes a typed one, and how that is written again. `shape!` makes a struct of the
//! specification's names in the order in which Docker Compose writes them.

use std::collections::BTreeMap;

use super::data::{Data, Form};
use crate::error::Error;
use crate::parse::interpolate::boolean;
use crate::parse::node::{Node, Path, Value};

/// A typed value.
pub trait Field: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// The value is not of this type.
    fn read(node: &Node, path: &Path) -> Result<Self, Error>;
    /// Writes it.
    fn write(&self, form: Form) -> Data;
    /// Whether it is left out.
    fn omitted(&self, form: Form) -> bool;
}

/// The value has another type than its place.
pub fn mismatch(node: &Node, path: &Path, wanted: &str) -> Error {
    Error::rule(node.at, format!("{path} must be a {wanted}"))
}

impl Field for String {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Null => Ok(String::new()),
            Value::List(_) | Value::Map(_) => Err(mismatch(node, path, "string")),
            _ => Ok(node.text().unwrap_or_default()),
        }
    }
    fn write(&self, _: Form) -> Data {
        Data::Str(self.clone())
    }
    fn omitted(&self, _: Form) -> bool {
        self.is_empty()
    }
}

impl Field for bool {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Null => Ok(false),
            Value::Bool(b) => Ok(*b),
            Value::Str(text) => {
                boolean(text).ok_or_else(|| Error::rule(node.at, format!("{path}: invalid boolean: {text}")))
            }
            _ => Err(mismatch(node, path, "boolean")),
        }
    }
    fn write(&self, _: Form) -> Data {
        Data::Bool(*self)
    }
    fn omitted(&self, _: Form) -> bool {
        !*self
    }
}

fn whole(node: &Node, path: &Path) -> Result<i64, Error> {
    match &node.value {
        Value::Null => Ok(0),
        Value::Int(i) => Ok(*i),
        #[allow(clippy::cast_possible_truncation, reason = "the fraction is checked")]
        Value::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Ok(*f as i64),
        Value::Str(text) => text.trim().parse().map_err(|_| mismatch(node, path, "number")),
        _ => Err(mismatch(node, path, "number")),
    }
}

macro_rules! whole_numbers {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn read(node: &Node, path: &Path) -> Result<Self, Error> {
                let number = whole(node, path)?;
                <$kind>::try_from(number)
                    .map_err(|_| Error::rule(node.at, format!("{path}: {number} is out of range")))
            }
            fn write(&self, _: Form) -> Data {
                i64::try_from(*self).map_or(Data::Null, Data::Int)
            }
            fn omitted(&self, _: Form) -> bool {
                *self == 0
            }
        }
    )*};
}
whole_numbers!(i64, u64, u32, u16);

impl Field for f32 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "Docker Compose's precision"
    )]
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Null => Ok(0.0),
            Value::Int(i) => Ok(*i as f32),
            Value::Float(f) => Ok(*f as f32),
            Value::Float32(f) => Ok(*f),
            Value::Str(text) => text.parse().map_err(|_| mismatch(node, path, "number")),
            _ => Err(mismatch(node, path, "number")),
        }
    }
    fn write(&self, _: Form) -> Data {
        Data::Float32(*self)
    }
    fn omitted(&self, _: Form) -> bool {
        *self == 0.0
    }
}

impl<T: Field> Field for Option<T> {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        if node.is_null() { Ok(None) } else { T::read(node, path).map(Some) }
    }
    fn write(&self, form: Form) -> Data {
        self.as_ref().map_or(Data::Null, |value| value.write(form))
    }
    fn omitted(&self, _: Form) -> bool {
        self.is_none()
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Null => Ok(Vec::new()),
            Value::List(list) => {
                let at = |i: usize| path.next(&i.to_string());
                list.iter().enumerate().map(|(i, n)| T::read(n, &at(i))).collect()
            }
            Value::Str(_) => Ok(vec![T::read(node, path)?]),
            _ => Err(mismatch(node, path, "array")),
        }
    }
    fn write(&self, form: Form) -> Data {
        Data::List(self.iter().map(|value| value.write(form)).collect())
    }
    fn omitted(&self, _: Form) -> bool {
        self.is_empty()
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Null => Ok(BTreeMap::new()),
            Value::Map(map) => {
                map.iter().map(|(name, n)| Ok((name.clone(), T::read(n, &path.next(name))?))).collect()
            }
            _ => Err(mismatch(node, path, "mapping")),
        }
    }
    fn write(&self, form: Form) -> Data {
        let mut fields: Vec<(String, Data)> =
            self.iter().map(|(name, value)| (name.clone(), value.write(form))).collect();
        if form == Form::Yaml {
            fields.sort_by(|a, b| crate::render::yaml::order(&a.0, &b.0));
        }
        Data::Map(fields)
    }
    fn omitted(&self, _: Form) -> bool {
        self.is_empty()
    }
}

/// Fields named `x-…`, which are kept and not looked at.
pub type Extensions = BTreeMap<String, Node>;

/// Reads the extensions of a mapping.
pub fn extensions(node: &Node) -> Extensions {
    let all = node.map().into_iter().flatten();
    all.filter(|(name, _)| name.starts_with("x-")).map(|(name, n)| (name.clone(), n.clone())).collect()
}

/// Extensions as YAML has them after all other fields.
pub fn written(extensions: &Extensions) -> Vec<(String, Data)> {
    let mut data = Data::Map(extensions.iter().map(|(name, node)| (name.clone(), node.into())).collect());
    crate::render::yaml::sorted(&mut data);
    match data {
        Data::Map(fields) => fields,
        _ => Vec::new(),
    }
}

/// A struct of the specification.
macro_rules! shape {
    ($(#[$about:meta])* pub struct $name:ident {
        $($(#[$doc:meta])* $field:ident $(as $key:literal)? : $kind:ty $(= $always:ident)?,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
            /// Fields named `x-…`.
            pub extensions: $crate::model::field::Extensions,
        }

        impl $crate::model::field::Field for $name {
            fn read(
                node: &$crate::parse::node::Node,
                path: &$crate::parse::node::Path,
            ) -> Result<Self, $crate::error::Error> {
                #[allow(unused_imports)]
                use $crate::model::field::{Field, key_of};
                if node.is_null() {
                    return Ok(Self::default());
                }
                let Some(map) = node.map() else {
                    return Err($crate::model::field::mismatch(node, path, "mapping"));
                };
                let mut made = Self { extensions: $crate::model::field::extensions(node), ..Self::default() };
                $(
                    let key = key_of!($field $(as $key)?);
                    if let Some(value) = map.get(key) {
                        made.$field = Field::read(value, &path.next(key))?;
                    }
                )*
                Ok(made)
            }

            fn write(&self, form: $crate::model::data::Form) -> $crate::model::data::Data {
                #[allow(unused_imports)]
                use $crate::model::field::{Field, key_of};
                let mut fields = Vec::new();
                $(
                    let always = false $(|| stringify!($always) == "always")?;
                    if always || !self.$field.omitted(form) {
                        fields.push((key_of!($field $(as $key)?).to_owned(), self.$field.write(form)));
                    }
                )*
                if form == $crate::model::data::Form::Yaml {
                    fields.extend($crate::model::field::written(&self.extensions));
                }
                $crate::model::data::Data::Map(fields)
            }

            fn omitted(&self, form: $crate::model::data::Form) -> bool {
                form == $crate::model::data::Form::Yaml && *self == Self::default()
            }
        }
    };
}

macro_rules! key_of {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident as $key:literal) => {
        $key
    };
}

pub(crate) use {key_of, shape};
