//! HCL's own syntax, read by hcl-edit, whose limits on nesting keep its tree (and what walks it) small.

use std::ops::Range;

use hcl_edit::expr::{
    BinaryOperator, Conditional, Expression, ForExpr, FuncCall, Object, ObjectKey, Traversal,
    TraversalOperator, UnaryOperator,
};
use hcl_edit::structure::{BlockLabel, Structure};
use hcl_edit::template::{Directive, Element, ForDirective, IfDirective, Template};
use hcl_edit::{Ident, Span};

use super::expr::{Call, Expr, For, Kind, Operator, Step};
use super::{Attribute, Block, Body};
use crate::error::{Failure, Result};
use crate::source::Place;
use crate::value::Number;

/// Where a text stands in its file.
#[derive(Clone, Copy)]
struct Text {
    file: usize,
    offset: usize,
}

/// Reads a file.
pub(crate) fn body(text: &str, file: usize) -> Result<Body> {
    let read = hcl_edit::parser::parse_body(text).map_err(|error| wrong(&error, Text { file, offset: 0 }))?;
    Ok(Text { file, offset: 0 }.body(&read))
}

/// Reads a template that stands in another file, such as a string of JSON.
pub(crate) fn template(text: &str, file: usize, offset: usize) -> Result<Expr> {
    let at = Text { file, offset };
    let read = hcl_edit::parser::parse_template(text).map_err(|error| wrong(&error, at))?;
    Ok(at.template(&read, Place { file, start: offset, end: offset + text.len() }))
}

/// Reads an expression that stands in another file.
pub(crate) fn expression(text: &str, file: usize, offset: usize) -> Result<Expr> {
    let at = Text { file, offset };
    let read = hcl_edit::parser::parse_expr(text).map_err(|error| wrong(&error, at))?;
    Ok(at.expr(&read))
}

fn wrong(error: &hcl_edit::parser::Error, at: Text) -> Failure {
    let start = at.offset + error.location().offset();
    let place = Place { file: at.file, start, end: start + 1 };
    let mut message = error.message().replace('\n', ": ");
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Failure::at(place, "Invalid syntax", format!("{message}."))
}

impl Text {
    fn place(self, span: Option<Range<usize>>) -> Place {
        let span = span.unwrap_or_default();
        Place { file: self.file, start: self.offset + span.start, end: self.offset + span.end }
    }

    fn body(self, body: &hcl_edit::structure::Body) -> Body {
        let mut read = Body { place: self.place(body.span()), ..Body::default() };
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => read.attributes.push(Attribute {
                    name: attribute.key.to_string(),
                    value: self.expr(&attribute.value),
                    place: self.place(attribute.span()),
                }),
                Structure::Block(block) => {
                    let mut place = self.place(block.ident.span());
                    let labels: Vec<(String, Place)> = block
                        .labels
                        .iter()
                        .map(|label| {
                            let span = match label {
                                BlockLabel::Ident(ident) => ident.span(),
                                BlockLabel::String(text) => text.span(),
                            };
                            (label.as_str().to_owned(), self.place(span))
                        })
                        .collect();
                    if let Some((_, last)) = labels.last() {
                        place = place.to(*last);
                    }
                    let kind = block.ident.to_string();
                    let mut body = self.body(&block.body);
                    body.place = match block.body.span() {
                        // From its brace on.
                        Some(span) if span.start > 0 => self.place(Some(span.start - 1..span.end)),
                        _ => Place { start: place.end + 1, end: place.end + 2, ..place },
                    };
                    read.blocks.push(Block { kind, labels, body, place });
                }
            }
        }
        read
    }

    fn expr(self, expression: &Expression) -> Expr {
        let place = self.place(expression.span());
        let kind = match expression {
            Expression::Null(_) => Kind::Null,
            Expression::Bool(value) => Kind::Bool(*value.value()),
            Expression::Number(number) => {
                let written = number.as_repr().map(|repr| repr.to_string());
                Kind::Number(Number::read(&written.unwrap_or_else(|| number.value().to_string())))
            }
            Expression::String(text) => Kind::Text(text.to_string()),
            Expression::Array(items) => Kind::List(items.iter().map(|item| self.expr(item)).collect()),
            Expression::Object(object) => self.object(object),
            Expression::StringTemplate(template) => {
                let elements: Vec<&Element> = template.iter().collect();
                return self.elements(&elements, place);
            }
            Expression::HeredocTemplate(heredoc) => return self.template(&heredoc.template, place),
            Expression::Parenthesis(inner) => Kind::Inner(Box::new(self.expr(inner.inner()))),
            Expression::Variable(name) => Kind::Variable(name.to_string()),
            Expression::Conditional(conditional) => self.conditional(conditional),
            Expression::FuncCall(call) => self.call(call),
            Expression::Traversal(traversal) => return self.traversal(traversal),
            Expression::UnaryOp(unary) => {
                let operand = Box::new(self.expr(&unary.expr));
                match unary.operator.value() {
                    UnaryOperator::Neg => Kind::Negative(operand),
                    UnaryOperator::Not => Kind::Not(operand),
                }
            }
            Expression::BinaryOp(binary) => {
                let (left, right) = (self.expr(&binary.lhs_expr), self.expr(&binary.rhs_expr));
                Kind::Binary(Box::new(left), operator(*binary.operator.value()), Box::new(right))
            }
            Expression::ForExpr(each) => self.for_expr(each),
        };
        Expr { kind, place }
    }

    fn object(self, object: &Object) -> Kind {
        let key = |key: &ObjectKey| match key {
            ObjectKey::Ident(ident) => Expr::text(ident.as_str(), self.place(ident.span())),
            ObjectKey::Expression(expression) => self.expr(expression),
        };
        Kind::Object(object.iter().map(|(k, v)| (key(k), self.expr(v.expr()))).collect())
    }

    fn conditional(self, conditional: &Conditional) -> Kind {
        let [condition, yes, no] =
            [&conditional.cond_expr, &conditional.true_expr, &conditional.false_expr].map(|e| self.expr(e));
        Kind::Conditional(Box::new(condition), Box::new(yes), Box::new(no))
    }

    fn call(self, call: &FuncCall) -> Kind {
        let spaces = call.name.namespace.iter().map(|space| format!("{}::", space.as_str()));
        let name = spaces.chain([call.name.name.to_string()]).collect();
        let arguments = call.args.iter().map(|argument| self.expr(argument)).collect();
        let name_place = self.place(call.name.name.span());
        Kind::Call(Call { name, name_place, arguments, expanded: call.args.expand_final() })
    }

    fn for_expr(self, each: &ForExpr) -> Kind {
        Kind::For(Box::new(For {
            key: each.intro.key_var.as_ref().map(|key| key.to_string()),
            value: each.intro.value_var.to_string(),
            source: self.expr(&each.intro.collection_expr),
            result_key: each.key_expr.as_ref().map(|key| self.expr(key)),
            result: self.expr(&each.value_expr),
            condition: each.cond.as_ref().map(|condition| self.expr(&condition.expr)),
            grouped: each.grouping,
        }))
    }

    fn traversal(self, traversal: &Traversal) -> Expr {
        let mut expr = self.expr(&traversal.expr);
        let start = expr.place;
        let mut splat: Option<(Vec<Step>, bool)> = None;
        for operator in &traversal.operators {
            let place = self.place(operator.span());
            let (step, is_attribute) = match operator.value() {
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                    expr = close(expr, splat.take());
                    expr = Expr { place: start.to(place), ..expr };
                    let full = matches!(operator.value(), TraversalOperator::FullSplat(_));
                    splat = Some((Vec::new(), full));
                    continue;
                }
                TraversalOperator::GetAttr(name) => {
                    (Step::Attribute(Ident::to_string(name.value()), place), true)
                }
                TraversalOperator::Index(index) => (Step::Index(self.expr(index), place), false),
                TraversalOperator::LegacyIndex(index) => {
                    let index = Kind::Number(Number::from(i128::from(*index.value())));
                    (Step::Index(Expr { kind: index, place }, place), true)
                }
            };
            match &mut splat {
                Some((steps, full)) if *full || is_attribute => steps.push(step),
                _ => {
                    expr = close(expr, splat.take());
                    expr = follow(expr, step, start);
                }
            }
        }
        close(expr, splat)
    }

    fn template(self, template: &Template, place: Place) -> Expr {
        let elements: Vec<&Element> = template.iter().collect();
        self.elements(&elements, place)
    }

    /// Parts of a string; `~` takes away the blanks beside it.
    fn elements(self, elements: &[&Element], place: Place) -> Expr {
        let strips = |element: &Element| match element {
            Element::Literal(_) => (false, false),
            Element::Interpolation(one) => (one.strip.strip_start(), one.strip.strip_end()),
            Element::Directive(directive) => match &**directive {
                Directive::If(one) => (one.if_expr.strip.strip_start(), one.endif_expr.strip.strip_end()),
                Directive::For(one) => (one.for_expr.strip.strip_start(), one.endfor_expr.strip.strip_end()),
            },
        };
        let mut parts = Vec::new();
        for (number, element) in elements.iter().enumerate() {
            let own = self.place(element.span());
            match element {
                Element::Literal(text) => {
                    let before = number.checked_sub(1).is_some_and(|at| strips(elements[at]).1);
                    let after = elements.get(number + 1).is_some_and(|next| strips(next).0);
                    parts.push(Expr::text(trimmed(text.value(), before, after), own));
                }
                Element::Interpolation(one) => {
                    parts.push(Expr { kind: Kind::Inner(Box::new(self.expr(&one.expr))), place: own });
                }
                Element::Directive(directive) => parts.push(match &**directive {
                    Directive::If(one) => self.if_directive(one, own),
                    Directive::For(one) => self.for_directive(one, own),
                }),
            }
        }
        match parts.len() {
            0 => Expr::text("", place),
            1 if matches!(parts[0].kind, Kind::Text(_) | Kind::Inner(_)) => Expr { place, ..parts.remove(0) },
            _ => Expr { kind: Kind::Template(parts), place },
        }
    }

    fn if_directive(self, one: &IfDirective, place: Place) -> Expr {
        let end = one.endif_expr.strip.strip_start();
        let middle = one.else_expr.as_ref().map_or(end, |other| other.strip.strip_start());
        let yes = self.inner_template(&one.if_expr.template, one.if_expr.strip.strip_end(), middle, place);
        let no = match &one.else_expr {
            Some(other) => self.inner_template(&other.template, other.strip.strip_end(), end, place),
            None => Expr::text("", place),
        };
        let condition = self.expr(&one.if_expr.cond_expr);
        Expr { kind: Kind::Conditional(Box::new(condition), Box::new(yes), Box::new(no)), place }
    }

    fn for_directive(self, one: &ForDirective, place: Place) -> Expr {
        let (before, after) = (one.for_expr.strip.strip_end(), one.endfor_expr.strip.strip_start());
        let each = For {
            key: one.for_expr.key_var.as_ref().map(|key| key.to_string()),
            value: one.for_expr.value_var.to_string(),
            source: self.expr(&one.for_expr.collection_expr),
            result_key: None,
            result: self.inner_template(&one.for_expr.template, before, after, place),
            condition: None,
            grouped: false,
        };
        let list = Expr { kind: Kind::For(Box::new(each)), place };
        Expr { kind: Kind::Joined(Box::new(list)), place }
    }

    /// A template between directives, which may take blanks away at its ends; always a string.
    fn inner_template(self, template: &Template, before: bool, after: bool, place: Place) -> Expr {
        let whole = self.template(template, place);
        let mut parts = match whole.kind {
            Kind::Template(parts) => parts,
            kind => vec![Expr { kind, place }],
        };
        if before && let Some(Expr { kind: Kind::Text(text), .. }) = parts.first_mut() {
            *text = trimmed(text, true, false);
        }
        if after && let Some(Expr { kind: Kind::Text(text), .. }) = parts.last_mut() {
            *text = trimmed(text, false, true);
        }
        Expr { kind: Kind::Template(parts), place }
    }
}

fn trimmed(text: &str, before: bool, after: bool) -> String {
    let text = if before { text.trim_start() } else { text };
    (if after { text.trim_end() } else { text }).to_owned()
}

fn close(expr: Expr, splat: Option<(Vec<Step>, bool)>) -> Expr {
    match splat {
        None => expr,
        Some((steps, _)) => {
            let place = expr.place;
            Expr { kind: Kind::Splat(Box::new(expr), steps), place }
        }
    }
}

fn follow(expr: Expr, step: Step, start: Place) -> Expr {
    match step {
        Step::Attribute(name, place) => {
            Expr { kind: Kind::Attribute(Box::new(expr), name), place: start.to(place) }
        }
        Step::Index(index, place) => {
            Expr { kind: Kind::Index(Box::new(expr), Box::new(index)), place: start.to(place) }
        }
    }
}

fn operator(operator: BinaryOperator) -> Operator {
    match operator {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::NotEq => Operator::NotEqual,
        BinaryOperator::Less => Operator::Less,
        BinaryOperator::LessEq => Operator::LessOrEqual,
        BinaryOperator::Greater => Operator::Greater,
        BinaryOperator::GreaterEq => Operator::GreaterOrEqual,
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Mul => Operator::Multiply,
        BinaryOperator::Div => Operator::Divide,
        BinaryOperator::Mod => Operator::Modulo,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
    }
}
