//! `RUN --device`: a device by its CDI name, and whether the step needs it.

use crate::dockerfile::csv;
use crate::dockerfile::instruction::Device;
use crate::dockerfile::suggest::{closest, did_you_mean};
use dray_spec::golang::parse_bool;

/// Why a `--device` cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A quote at the wrong place.
    #[error("failed to parse csv devices: {0}")]
    Csv(&'static str),
    /// A second word without value.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    /// A second name.
    #[error("device name already set to {0}")]
    TwoNames(String),
    /// A value that cannot be read.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A setting that does not exist.
    #[error("unexpected key '{key}' in '{field}'{}", did_you_mean(.suggestion))]
    UnknownKey {
        /// The key.
        key: String,
        /// The whole setting.
        field: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
}

/// Reads a `--device` value: the first word that is no setting is the name, which may hold a `=` itself.
pub(super) fn parse(text: &str) -> Result<Device, DeviceError> {
    let mut device = Device { name: String::new(), required: false };
    for field in csv::fields(text).map_err(DeviceError::Csv)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                let wrong = || DeviceError::Value { key: key.clone(), value: value.to_owned() };
                device.required = parse_bool(value).ok_or_else(wrong)?;
            }
            ("name", Some(_)) if !device.name.is_empty() => return Err(DeviceError::TwoNames(device.name)),
            ("name", Some(value)) => device.name = value.to_owned(),
            _ if device.name.is_empty() => device.name = field,
            (_, None) => return Err(DeviceError::NoValue(field)),
            (_, Some(_)) => {
                let suggestion = closest(&key, &["name", "required"], false);
                return Err(DeviceError::UnknownKey { key, field, suggestion });
            }
        }
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_settings_are_told_apart() {
        let device = |text: &str| parse(text).map(|device| (device.name, device.required));
        assert_eq!(device("vendor.com/gpu=all"), Ok(("vendor.com/gpu=all".into(), false)));
        assert_eq!(device("vendor.com/gpu,required"), Ok(("vendor.com/gpu".into(), true)));
        assert_eq!(device("name=vendor.com/gpu=1,required=false"), Ok(("vendor.com/gpu=1".into(), false)));
        let message = |text: &str| parse(text).expect_err(text).to_string();
        assert_eq!(message("a,b"), "invalid field 'b' must be a key=value pair");
        assert_eq!(message("a,name=b"), "device name already set to a");
        assert_eq!(message("a,required=x"), "invalid value for required: x");
        assert_eq!(
            message("a,requird=x"),
            "unexpected key 'requird' in 'requird=x' (did you mean required?)"
        );
    }
}
