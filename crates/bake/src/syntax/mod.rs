//! From text to expressions with places: HCL's own syntax and its JSON form come to the same tree.
//!
//! ```text
//! native.rs   HCL, by hcl-edit         json.rs   HCL in JSON: strings are templates
//! expr.rs     expressions and what they refer to
//! ```

pub mod expr;
pub mod json;
pub mod native;

use crate::error::Result;
use crate::source::{File, Place};
use expr::Expr;

/// What is between the braces of a block, or in a file.
#[derive(Debug, Default)]
pub struct Body {
    /// `name = value`, in their order.
    pub attributes: Vec<Attribute>,
    /// `type "label" { … }`, in their order.
    pub blocks: Vec<Block>,
    /// All of it.
    pub place: Place,
}

/// `name = value`
#[derive(Debug)]
pub struct Attribute {
    pub name: String,
    pub value: Expr,
    /// Name and value.
    pub place: Place,
}

/// `type "label" { … }`
#[derive(Debug)]
pub struct Block {
    pub kind: String,
    pub labels: Vec<(String, Place)>,
    pub body: Body,
    /// Type and labels.
    pub place: Place,
}

impl Body {
    /// The attribute of a name; the first one, if a JSON file has several.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// Reads a file by what its name says; without that, as HCL and then as JSON.
pub(crate) fn read(file: &File, number: usize) -> Result<Body> {
    if file.name.ends_with(".json") {
        return json::body(&file.text, number);
    }
    match native::body(&file.text, number) {
        Err(_) if !file.name.ends_with(".hcl") && json::is_object(&file.text) => {
            json::body(&file.text, number)
        }
        read => read,
    }
}
