//! The grammar of filters: `or` binds least, then `and`, `not`, comparisons.

use regex_lite::Regex;

use super::{Expr, NoFilter, Operand, Pattern, Relation};
use crate::namespace::listing::Column;

/// How deep an expression may nest: more than anybody types, less than the
/// stack takes.
const DEEPEST: usize = 200;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Number(f64),
    Text(String),
    Sign(&'static str),
}

pub struct Parser {
    /// With where they begin, and where the text ends.
    tokens: Vec<(Token, usize)>,
    end: usize,
    next: usize,
    depth: usize,
}

fn refuse<T>(reason: impl Into<String>, at: usize) -> Result<T, NoFilter> {
    Err(NoFilter { reason: reason.into(), at: at + 1 })
}

impl Parser {
    pub fn new(text: &str) -> Result<Self, NoFilter> {
        let characters: Vec<char> = text.chars().collect();
        let tokens = tokens(&characters)?;
        Ok(Self { tokens, end: characters.len(), next: 0, depth: 0 })
    }

    /// All of the text as one expression.
    pub fn whole(mut self) -> Result<Expr, NoFilter> {
        let expr = self.or()?;
        match self.tokens.get(self.next) {
            None => Ok(expr),
            Some((token, at)) => refuse(format!("'{}' is one too many", shown(token)), *at),
        }
    }

    fn or(&mut self) -> Result<Expr, NoFilter> {
        let mut expr = self.and()?;
        while self.takes(&["||", "or"]) {
            expr = Expr::Or(Box::new(expr), Box::new(self.and()?));
        }
        Ok(expr)
    }

    fn and(&mut self) -> Result<Expr, NoFilter> {
        let mut expr = self.not()?;
        while self.takes(&["&&", "and"]) {
            expr = Expr::And(Box::new(expr), Box::new(self.not()?));
        }
        Ok(expr)
    }

    fn not(&mut self) -> Result<Expr, NoFilter> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return refuse("it nests too deep", self.place());
        }
        let expr = if self.takes(&["!", "not"]) {
            Expr::Not(Box::new(self.not()?))
        } else if self.takes(&["("]) {
            let expr = self.or()?;
            if !self.takes(&[")"]) {
                return refuse("')' is missing", self.place());
            }
            expr
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr, NoFilter> {
        let left = self.operand()?;
        for (signs, negated) in [("=~", false), ("!~", true)] {
            if self.takes(&[signs]) {
                let matches = Expr::Matches(left, self.pattern()?);
                return Ok(if negated { Expr::Not(Box::new(matches)) } else { matches });
            }
        }
        let relations = [
            (["==", "eq"], Relation::Equal),
            (["!=", "ne"], Relation::Different),
            (["<=", "le"], Relation::AtMost),
            (["<", "lt"], Relation::Less),
            ([">=", "ge"], Relation::AtLeast),
            ([">", "gt"], Relation::More),
        ];
        match relations.into_iter().find(|(names, _)| self.takes(names)) {
            Some((_, relation)) => Ok(Expr::Compare(left, relation, self.operand()?)),
            None => Ok(Expr::Is(left)),
        }
    }

    fn operand(&mut self) -> Result<Operand, NoFilter> {
        let at = self.place();
        let operand = match self.tokens.get(self.next).map(|(token, _)| token) {
            Some(Token::Number(number)) => Operand::Number(*number),
            Some(Token::Text(text)) => Operand::Text(text.clone()),
            Some(Token::Word(word)) if ["true", "false"].contains(&&*word.to_lowercase()) => {
                Operand::Boolean(word.eq_ignore_ascii_case("true"))
            }
            Some(Token::Word(word)) => match Column::by_name(word) {
                Some(column) => Operand::Column(column),
                None => return refuse(format!("unknown column '{word}'"), at),
            },
            _ => return refuse("an operand is missing", at),
        };
        self.next += 1;
        Ok(operand)
    }

    fn pattern(&mut self) -> Result<Pattern, NoFilter> {
        let at = self.place();
        let Some((Token::Text(text), _)) = self.tokens.get(self.next) else {
            return refuse("a text is missing", at);
        };
        self.next += 1;
        match Regex::new(text) {
            Ok(regex) => Ok(Pattern(regex)),
            Err(e) => refuse(format!("'{text}' is no regular expression ({e})"), at),
        }
    }

    /// Goes on if one of these comes next.
    fn takes(&mut self, names: &[&str]) -> bool {
        let takes = match self.tokens.get(self.next) {
            Some((Token::Sign(sign), _)) => names.contains(sign),
            Some((Token::Word(word), _)) => names.contains(&&*word.to_lowercase()),
            _ => false,
        };
        self.next += usize::from(takes);
        takes
    }

    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(_, at)| *at)
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(text) | Token::Text(text) => text.clone(),
        Token::Number(number) => number.to_string(),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}

/// Longer signs before those that they begin with.
const SIGNS: [&str; 13] = ["&&", "||", "==", "!=", "<=", ">=", "=~", "!~", "<", ">", "!", "(", ")"];

fn tokens(text: &[char]) -> Result<Vec<(Token, usize)>, NoFilter> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let first = text[at];
        let is_word = |c: &char| c.is_ascii_alphanumeric() || "_.-".contains(*c);
        let sign = |sign: &&str| sign.chars().eq(text[at..].iter().copied().take(sign.len()));
        if first.is_whitespace() {
            at += 1;
        } else if first == '"' || first == '\'' {
            let (string, end) = quoted(text, at)?;
            tokens.push((Token::Text(string), at));
            at = end;
        } else if is_word(&first) {
            let word: String = text[at..].iter().copied().take_while(is_word).collect();
            let count = word.len();
            let begins_number = first.is_ascii_digit() || first == '-';
            let token = if begins_number { number(&word, at)? } else { Token::Word(word) };
            tokens.push((token, at));
            at += count;
        } else if let Some(sign) = SIGNS.into_iter().find(|s| sign(s)) {
            tokens.push((Token::Sign(sign), at));
            at += sign.len();
        } else {
            return refuse(format!("unknown character '{first}'"), at);
        }
    }
    Ok(tokens)
}

/// A text and where what follows it begins. A backslash takes the next
/// character as it is where that is a quote; of a regular expression it is
/// part.
fn quoted(text: &[char], start: usize) -> Result<(String, usize), NoFilter> {
    let (quote, mut string, mut at) = (text[start], String::new(), start + 1);
    while let Some(&c) = text.get(at) {
        if c == quote {
            return Ok((string, at + 1));
        }
        let escapes = c == '\\' && text.get(at + 1) == Some(&quote);
        at += usize::from(escapes);
        string.push(text[at]);
        at += 1;
    }
    refuse("a quote is not closed", start)
}

/// Decimal, hexadecimal or with a fraction; `K` to `E`, also with `iB`, are
/// powers of 1024, with `B` alone of 1000.
fn number(word: &str, at: usize) -> Result<Token, NoFilter> {
    let unknown = || NoFilter { reason: format!("unknown number '{word}'"), at: at + 1 };
    if let Some(digits) = word.strip_prefix("0x") {
        let number = u32::from_str_radix(digits, 16).map_err(|_| unknown())?;
        return Ok(Token::Number(f64::from(number)));
    }
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| unknown())?;
    let suffix = &word[digits.len()..];
    let Some(unit) = suffix.chars().next() else { return Ok(Token::Number(number)) };
    let power = "KMGTPE".find(unit.to_ascii_uppercase()).ok_or_else(unknown)? + 1;
    let base: f64 = match &suffix[1..] {
        "" | "iB" => 1024.0,
        "B" => 1000.0,
        _ => return Err(unknown()),
    };
    let power = i32::try_from(power).map_err(|_| unknown())?;
    Ok(Token::Number(number * base.powi(power)))
}
