//! Puts calls of our own functions where gotmpl would look into values itself.
//!
//! ```text
//! {{.LastUp.Format "2006"}}   {{get PLACE . "LastUp.Format" "2006" | print}}
//! ```

use gotmpl::parse::{ActionNode, BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos};

use super::functions::{BOUND, CALL, GET, ITEMS, OF_TEXTS, PLAIN, PRINT, is_ours};

/// The template's name and text, for messages.
#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

/// The tree with all its fields looked up by us.
pub fn list(list: &ListNode, name: &str, text: &str) -> ListNode {
    let source = Source { name, text };
    let mut new = source.list(list);
    // Inner templates count as calls, else they could call each other for ever.
    let nothing = Expr::String(list.pos, "".into());
    new.nodes.insert(0, action(list.pos, vec![command(list.pos, BOUND, vec![nothing])]));
    new
}

/// Whether a range over everything stands outside of all others.
pub fn ranges_over_all(list: &ListNode) -> bool {
    list.nodes.iter().any(|node| match node {
        Node::Range(branch) => match branch.pipe.commands.as_slice() {
            [only] => match only.args.as_slice() {
                [Expr::Dot(_)] => true,
                [Expr::Variable(_, name, fields)] => name == "$" && fields.is_empty(),
                _ => false,
            },
            _ => false,
        },
        _ => false,
    })
}

/// Takes the mark off the end of the list; `false` if it is not there.
pub fn drop_mark(list: &mut ListNode, mark: &str) -> bool {
    let Some(Node::Text(last)) = list.nodes.last_mut() else { return false };
    let Some(rest) = last.text.strip_suffix(mark) else { return false };
    last.text = rest.into();
    true
}

/// Spaces of the text become tabs.
pub fn tabs(list: &mut ListNode) {
    for node in &mut list.nodes {
        match node {
            Node::Text(text) => text.text = text.text.replace(' ', "\t").into(),
            Node::If(inner) | Node::Range(inner) | Node::With(inner) => {
                tabs(&mut inner.body);
                inner.else_body.iter_mut().for_each(tabs);
            }
            Node::List(inner) => tabs(inner),
            _ => {}
        }
    }
}

/// Every function that the tree calls, in order.
pub fn called(list: &ListNode) -> Vec<(Pos, String)> {
    fn of_pipe(pipe: &PipeNode, found: &mut Vec<(Pos, String)>) {
        for arg in pipe.commands.iter().flat_map(|command| &command.args) {
            of_expr(arg, found);
        }
    }
    fn of_expr(expr: &Expr, found: &mut Vec<(Pos, String)>) {
        match expr {
            Expr::Identifier(pos, name) => found.push((*pos, name.to_string())),
            Expr::Pipe(_, inner) => of_pipe(inner, found),
            Expr::Chain(_, inner, _) => of_expr(inner, found),
            _ => {}
        }
    }
    fn of_list(list: &ListNode, found: &mut Vec<(Pos, String)>) {
        for node in &list.nodes {
            match node {
                Node::List(inner) => of_list(inner, found),
                Node::Action(inner) => of_pipe(&inner.pipe, found),
                Node::If(inner) | Node::Range(inner) | Node::With(inner) => {
                    of_pipe(&inner.pipe, found);
                    of_list(&inner.body, found);
                    inner.else_body.iter().for_each(|list| of_list(list, found));
                }
                Node::Template(inner) => inner.pipe.iter().for_each(|pipe| of_pipe(pipe, found)),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    of_list(list, &mut found);
    found
}

fn command(pos: Pos, function: &'static str, args: Vec<Expr>) -> CommandNode {
    let name = Expr::Identifier(pos, function.into());
    CommandNode { pos, args: std::iter::once(name).chain(args).collect() }
}

fn action(pos: Pos, commands: Vec<CommandNode>) -> Node {
    Node::Action(ActionNode { pos, pipe: pipe(pos, commands) })
}

fn pipe(pos: Pos, commands: Vec<CommandNode>) -> PipeNode {
    PipeNode { pos, decl: vec![], commands, is_assign: false }
}

impl Source<'_> {
    fn list(self, list: &ListNode) -> ListNode {
        ListNode { pos: list.pos, nodes: list.nodes.iter().map(|node| self.node(node)).collect() }
    }

    fn node(self, node: &Node) -> Node {
        match node {
            Node::List(inner) => Node::List(self.list(inner)),
            Node::Action(inner) => {
                let mut pipe = self.pipe(&inner.pipe);
                if pipe.decl.is_empty() {
                    pipe.commands.push(command(inner.pos, PRINT, vec![]));
                }
                Node::Action(ActionNode { pos: inner.pos, pipe })
            }
            Node::If(inner) => Node::If(self.branch(inner)),
            Node::Range(inner) => Node::Range(self.range(inner)),
            Node::With(inner) => Node::With(self.branch(inner)),
            Node::Template(inner) => {
                let mut inner = inner.clone();
                inner.pipe = inner.pipe.map(|pipe| self.pipe(&pipe));
                Node::Template(inner)
            }
            other => other.clone(),
        }
    }

    fn branch(self, branch: &BranchNode) -> BranchNode {
        BranchNode {
            pos: branch.pos,
            pipe: self.pipe(&branch.pipe),
            body: self.list(&branch.body),
            else_body: branch.else_body.as_ref().map(|list| self.list(list)),
        }
    }

    /// What it goes over is a list or a number.
    fn range(self, branch: &BranchNode) -> BranchNode {
        let mut new = self.branch(branch);
        let place = Expr::String(branch.pos, self.place(branch.pos, "range").into());
        new.pipe.commands.push(command(branch.pos, ITEMS, vec![place]));
        new
    }

    /// Between the commands: what is made stays short, and functions of texts
    /// get texts.
    fn pipe(self, pipe: &PipeNode) -> PipeNode {
        let mut commands: Vec<CommandNode> = Vec::new();
        for inner in &pipe.commands {
            if !commands.is_empty() && takes_texts(inner) {
                commands.push(command(inner.pos, PLAIN, vec![]));
            }
            let called = matches!(inner.args.first(), Some(Expr::Identifier(..)));
            commands.push(self.command(inner));
            if called {
                commands.push(command(inner.pos, BOUND, vec![]));
            }
        }
        PipeNode { commands, ..pipe.clone() }
    }

    /// Arguments of a field are those of a method.
    fn command(self, command: &CommandNode) -> CommandNode {
        let Some((first, rest)) = command.args.split_first() else { return command.clone() };
        if let Expr::Identifier(pos, name) = first
            && is_ours(name)
        {
            return self.called(*pos, name, rest);
        }
        let mut args = self.looked_up(first).unwrap_or_else(|| vec![self.expr(first)]);
        let texts = takes_texts(command);
        args.extend(rest.iter().map(|arg| {
            let arg = self.expr(arg);
            if texts { as_text(arg) } else { arg }
        }));
        CommandNode { pos: command.pos, args }
    }

    /// A function of ours is told where it is called.
    fn called(self, pos: Pos, name: &str, rest: &[Expr]) -> CommandNode {
        let text = |text: String| Expr::String(pos, text.into());
        let place = text(self.place(pos, name));
        let args = [place, text(name.to_owned())].into_iter();
        command(pos, CALL, args.chain(rest.iter().map(|arg| self.expr(arg))).collect())
    }

    fn expr(self, expr: &Expr) -> Expr {
        let pos = expr.pos();
        if let Some(args) = self.looked_up(expr) {
            return Expr::Pipe(pos, pipe(pos, vec![CommandNode { pos, args }]));
        }
        match expr {
            Expr::Pipe(pos, inner) => Expr::Pipe(*pos, self.pipe(inner)),
            other => other.clone(),
        }
    }

    /// The words of the command that looks a field up, if it is one.
    fn looked_up(self, expr: &Expr) -> Option<Vec<Expr>> {
        let pos = expr.pos();
        let (base, fields) = match expr {
            Expr::Field(_, fields) => (Expr::Dot(pos), fields),
            Expr::Variable(_, name, fields) if !fields.is_empty() => {
                (Expr::Variable(pos, name.clone(), vec![]), fields)
            }
            Expr::Chain(_, inner, fields) => (self.expr(inner), fields),
            _ => return None,
        };
        let path = fields.join(".");
        let place = Expr::String(pos, self.place(pos, &format!(".{path}")).into());
        let path = Expr::String(pos, path.into());
        Some(vec![Expr::Identifier(pos, GET.into()), place, base, path])
    }

    /// As Go tells where it was: template, line, byte of the line, words.
    fn place(self, pos: Pos, what: &str) -> String {
        let before = self.text.get(..pos.offset).unwrap_or_default();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let Self { name, .. } = self;
        format!("template: {name}:{}:{column}: executing \"{name}\" at <{what}>", pos.line)
    }
}

fn takes_texts(command: &CommandNode) -> bool {
    match command.args.first() {
        Some(Expr::Identifier(_, name)) => OF_TEXTS.contains(&name.as_str()),
        _ => false,
    }
}

fn as_text(expr: Expr) -> Expr {
    let pos = expr.pos();
    match expr {
        Expr::String(..) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_) => expr,
        expr => Expr::Pipe(pos, pipe(pos, vec![command(pos, PLAIN, vec![expr])])),
    }
}
