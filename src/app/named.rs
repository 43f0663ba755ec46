//! Named namespaces: asking the agent about them. Programs in them are run by
//! [`super::run`].

use anyhow::bail;

use super::Place;
use super::session::{self, Answer};
use crate::namespace::named::Named;
use crate::protocol::outcome::{Failure, Plan};
use crate::protocol::request::{NamedRequest, NamedVerb, Request, UserSpec};

/// What the agent tells, or why it refuses; asked by `user`, or else by the
/// place's.
pub fn ask(
    place: &Place,
    user: Option<&UserSpec>,
    verb: NamedVerb,
) -> anyhow::Result<Result<Vec<Named>, Failure>> {
    match answer(place, user, verb)? {
        Answer::Named(all) => Ok(Ok(all)),
        Answer::Refused(failure) => Ok(Err(failure)),
        _ => bail!("the agent answered with something else"),
    }
}

/// The plan of a [`NamedVerb::Explain`], or why there is none.
pub fn explain(
    place: &Place,
    user: Option<&UserSpec>,
    verb: NamedVerb,
) -> anyhow::Result<Result<Plan, Failure>> {
    match answer(place, user, verb)? {
        Answer::Plan(plan) => Ok(Ok(plan)),
        Answer::Refused(failure) => Ok(Err(failure)),
        _ => bail!("the agent answered with something else"),
    }
}

fn answer(place: &Place, user: Option<&UserSpec>, verb: NamedVerb) -> anyhow::Result<Answer> {
    let user = match user {
        Some(user) => Some(user.clone()),
        None => place.default_user()?,
    };
    let request = Request::Named(NamedRequest { user, verb });
    session::ask(place.connection()?, request)
}
