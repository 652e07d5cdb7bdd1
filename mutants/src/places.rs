//! Where in a file mutants can be: what cargo-mutants names by a line and a column, as syntax.

use std::{collections::HashMap, ops::Range};

use proc_macro2::LineColumn;
use syn::{
    BinOp, Expr, Pat, PatIdent, UnOp,
    spanned::Spanned,
    visit::{self, Visit},
};

pub(crate) type Bytes = Range<usize>;

/// Line and column of where something starts, both from 1 on.
type Start = (usize, usize);

#[derive(Default)]
pub(crate) struct Places {
    pub(crate) binaries: HashMap<Start, Binary>,
    /// The operator, and all of the expression.
    pub(crate) unaries: HashMap<Start, (Bytes, Bytes)>,
    pub(crate) arms: HashMap<Start, Arm>,
    pub(crate) guards: HashMap<Start, Bytes>,
    pub(crate) fields: HashMap<Start, Field>,
    /// What is evaluated by the compiler, where nothing can be chosen later.
    pub(crate) constants: Vec<Bytes>,
    /// The word `const`, the function and its name.
    pub(crate) const_functions: Vec<(Bytes, Bytes, String)>,
    /// Before the first item.
    pub(crate) first_item: usize,
    line_starts: Vec<usize>,
    source: String,
    /// The operators around what is visited.
    chain: Option<(Bytes, bool)>,
    is_spare: bool,
}

#[derive(Clone)]
pub(crate) struct Binary {
    pub(crate) operator: Bytes,
    /// The operators around it as well, as far as no bracket is between: with another one here, they may bind
    /// otherwise.
    pub(crate) chain: Bytes,
    /// It is an `&&` beside a `let`, where no other operator can be.
    pub(crate) is_let_chain: bool,
}

#[derive(Clone)]
pub(crate) struct Arm {
    pub(crate) pattern_end: usize,
    pub(crate) guard: Option<Bytes>,
    /// One of the match takes whatever comes: with a condition on the others, it still has an arm for everything.
    pub(crate) is_spare: bool,
}

#[derive(Clone)]
pub(crate) struct Field {
    /// With the comma behind it.
    pub(crate) field: Bytes,
    pub(crate) expression: Bytes,
}

impl Places {
    pub(crate) fn of(source: &str) -> syn::Result<Places> {
        let file = syn::parse_file(source)?;
        let line_starts = [0].into_iter().chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut places = Places { line_starts, source: source.to_owned(), ..Places::default() };
        places.first_item = file.items.first().map_or(0, |item| places.bytes(item).start);
        places.visit_file(&file);
        Ok(places)
    }

    /// The byte at a line and a column, both from 1 on.
    pub(crate) fn byte(&self, (line, column): Start) -> usize {
        let start = self.line_starts[line - 1];
        let chars = self.source[start..].char_indices().map(|(at, _)| start + at).chain([self.source.len()]);
        chars.into_iter().nth(column - 1).expect("a column of the line")
    }

    fn at(&self, LineColumn { line, column }: LineColumn) -> usize {
        self.byte((line, column + 1))
    }

    fn bytes(&self, node: &impl Spanned) -> Bytes {
        let span = node.span();
        self.at(span.start())..self.at(span.end())
    }

    fn start(node: &impl Spanned) -> Start {
        let LineColumn { line, column } = node.span().start();
        (line, column + 1)
    }

    fn in_chain(&mut self, chain: Option<(Bytes, bool)>, visit: impl FnOnce(&mut Self)) {
        let around = std::mem::replace(&mut self.chain, chain);
        visit(self);
        self.chain = around;
    }
}

/// Whether there is a `let` in it that binds for what is around.
fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

fn is_assignment(operator: &BinOp) -> bool {
    use BinOp::*;
    matches!(
        operator,
        AddAssign(_)
            | SubAssign(_)
            | MulAssign(_)
            | DivAssign(_)
            | RemAssign(_)
            | BitXorAssign(_)
            | BitAndAssign(_)
            | BitOrAssign(_)
            | ShlAssign(_)
            | ShrAssign(_)
    )
}

impl<'ast> Visit<'ast> for Places {
    fn visit_expr(&mut self, expression: &'ast Expr) {
        let Expr::Binary(binary) = expression else {
            self.in_chain(None, |places| visit::visit_expr(places, expression));
            return;
        };
        let own = self.bytes(binary);
        let (chain, is_let_chain) = match self.chain.take() {
            Some(around) => around,
            None => (own.clone(), has_let(expression)),
        };
        // What stands beside a `let` is on its own.
        let is_between = is_let_chain && matches!(binary.op, BinOp::And(_));
        let chain = if is_let_chain && !is_between { own.clone() } else { chain };
        let found = Binary { operator: self.bytes(&binary.op), chain: chain.clone(), is_let_chain: is_between };
        self.binaries.insert(Self::start(&binary.op), found);
        let is_apart = is_assignment(&binary.op);
        for side in [&binary.left, &binary.right] {
            let around = match &**side {
                Expr::Binary(_) if is_apart => None,
                // Not below the operators beside a `let`: the next one starts anew.
                Expr::Binary(inner) if is_between => {
                    Some((chain.clone(), matches!(inner.op, BinOp::And(_)))).filter(|(_, is_and)| *is_and)
                }
                Expr::Binary(_) => Some((chain.clone(), false)),
                _ => None,
            };
            self.in_chain(around, |places| places.visit_expr(side));
        }
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if !matches!(unary.op, UnOp::Deref(_)) {
            let found = (self.bytes(&unary.op), self.bytes(unary));
            self.unaries.insert(Self::start(&unary.op), found);
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        let takes_all = |pattern: &Pat| match pattern {
            Pat::Wild(_) => true,
            // Else it is a variant.
            Pat::Ident(PatIdent { ident, subpat: None, .. }) => ident.to_string().starts_with(char::is_lowercase),
            _ => false,
        };
        let around = self.is_spare;
        self.is_spare = expression.arms.iter().any(|arm| arm.guard.is_none() && takes_all(&arm.pat));
        visit::visit_expr_match(self, expression);
        self.is_spare = around;
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let guard = arm.guard.as_ref().map(|(_, guard)| self.bytes(&**guard));
        if let (Some((_, expression)), Some(guard)) = (&arm.guard, &guard) {
            self.guards.insert(Self::start(&**expression), guard.clone());
        }
        let found = Arm { pattern_end: self.bytes(&arm.pat).end, guard, is_spare: self.is_spare };
        self.arms.insert(Self::start(arm), found.clone());
        self.arms.insert(Self::start(&arm.pat), found);
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expression: &'ast syn::ExprStruct) {
        for pair in expression.fields.pairs() {
            let field = self.bytes(pair.value());
            let end = pair.punct().map_or(field.end, |comma| self.bytes(comma).end);
            let found = Field { field: field.start..end, expression: self.bytes(expression) };
            self.fields.insert(Self::start(pair.value()), found);
        }
        visit::visit_expr_struct(self, expression);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constants.push(self.bytes(item));
        visit::visit_item_const(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constants.push(self.bytes(item));
        visit::visit_impl_item_const(self, item);
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.constants.push(self.bytes(item));
        visit::visit_trait_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.constants.push(self.bytes(item));
        visit::visit_item_static(self, item);
    }

    fn visit_type_array(&mut self, array: &'ast syn::TypeArray) {
        self.constants.push(self.bytes(&array.len));
        visit::visit_type_array(self, array);
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.constants.push(self.bytes(&repeat.len));
        visit::visit_expr_repeat(self, repeat);
    }

    fn visit_expr_const(&mut self, block: &'ast syn::ExprConst) {
        self.constants.push(self.bytes(block));
        visit::visit_expr_const(self, block);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if let Some((_, discriminant)) = &variant.discriminant {
            self.constants.push(self.bytes(discriminant));
        }
        visit::visit_variant(self, variant);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if let Some(word) = &item.sig.constness {
            self.const_functions.push((self.bytes(word), self.bytes(item), item.sig.ident.to_string()));
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if let Some(word) = &item.sig.constness {
            self.const_functions.push((self.bytes(word), self.bytes(item), item.sig.ident.to_string()));
        }
        visit::visit_impl_item_fn(self, item);
    }
}
