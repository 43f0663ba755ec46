//! The nf_tables(8) rules for all namespaces with a way out. They know the
//! devices by the start of their names, so they never change:
//!
//! ```text
//! table inet nsvm {
//!     chain postrouting { type nat hook postrouting priority srcnat
//!         iifname "nsvm*" masquerade }
//!     chain forward { type filter hook forward priority filter
//!         oifname "nsvm*" ct state established,related accept
//!         oifname "nsvm*" drop }
//!     chain input { type filter hook input priority filter
//!         iifname "nsvm*" ct state established,related accept
//!         iifname "nsvm*" meta l4proto icmp accept
//!         iifname "nsvm*" drop }
//! }
//! ```
//!
//! So what comes back may come in, and nothing else: not from outside, not
//! from another namespace. And no service of the machine itself can be
//! reached, but its gateway answers a ping.

use std::io;

use netlink_packet_core::{
    DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NetlinkSerializable,
};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Hook, Immediate,
    InetHookNumber, ListAttribute, Meta, MetaKey, NfTablesMessage, Operator, Register,
    RuleAttribute, RuleMessage, TableAttribute, TableMessage, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rustix::net::netlink::NETFILTER;

use super::netlink::{Message, Netlink};
use crate::namespace::network::DEVICE;

const TABLE: &str = "nsvm";

/// Of `linux/netfilter.h`.
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// `NFNL_SUBSYS_NFTABLES`: whom a batch is for.
const SUBSYSTEM: u16 = 10;

/// `NF_CT_STATE_BIT` of established and related packets.
const BELONGS: u32 = 2 | 4;

/// `IPPROTO_ICMP`.
const ICMP: u8 = 1;

/// Priorities of `linux/netfilter_ipv4.h`.
const FILTER: u32 = 0;
const SOURCE_NAT: u32 = 100;

type Expression = Expressions;

/// Makes the table if there is none. All of it or nothing: of two who try at
/// once, one is too late, and finds it made.
pub fn ensure() -> io::Result<()> {
    let mut netlink = Netlink::open(Some(NETFILTER))?;
    let table = vec![TableAttribute::Name(TABLE.to_owned())];
    let ask = NfTablesMessage::GetTable(TableMessage { attributes: table });
    if netlink.request(message(ask), 0).is_ok() {
        return Ok(());
    }
    match Netlink::open(Some(NETFILTER))?.batch(all()) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn message(inner: impl Into<NetfilterMessageInner>) -> Message {
    encoded(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), inner)
}

fn encoded(header: NetfilterHeader, inner: impl Into<NetfilterMessageInner>) -> Message {
    let message = NetfilterMessage::new(header, inner);
    Message::new(message.message_type(), &message)
}

fn all() -> Vec<(Message, u16)> {
    let edge = |inner: ControlMessage| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
        (encoded(header, inner), 0)
    };
    let table = vec![TableAttribute::Name(TABLE.to_owned())];
    let table = NfTablesMessage::NewTable(TableMessage { attributes: table });
    let mut all = vec![edge(ControlMessage::BatchBegin)];
    all.push((message(table), NLM_F_CREATE | NLM_F_EXCL));
    for (name, kind, hook, priority, rules) in chains() {
        all.push((message(chain(name, kind, hook, priority)), NLM_F_CREATE));
        for expressions in rules {
            all.push((message(rule(name, expressions)), NLM_F_CREATE | NLM_F_APPEND));
        }
    }
    all.push(edge(ControlMessage::BatchEnd));
    all
}

type Chain = (&'static str, &'static str, InetHookNumber, u32, Vec<Vec<Expression>>);

fn chains() -> [Chain; 3] {
    let from = || device(MetaKey::Iifname);
    let to = || device(MetaKey::Oifname);
    let masquerade =
        Expression::Other { expression_type: "masq".to_owned(), attributes: Vec::new() };
    [
        (
            "postrouting",
            "nat",
            InetHookNumber::PostRouting,
            SOURCE_NAT,
            vec![[from(), vec![masquerade]].concat()],
        ),
        (
            "forward",
            "filter",
            InetHookNumber::Forward,
            FILTER,
            vec![[to(), belongs(), accept()].concat(), [to(), drop_it()].concat()],
        ),
        (
            "input",
            "filter",
            InetHookNumber::LocalIn,
            FILTER,
            vec![
                [from(), belongs(), accept()].concat(),
                [from(), is_icmp(), accept()].concat(),
                [from(), drop_it()].concat(),
            ],
        ),
    ]
}

fn chain(name: &str, kind: &str, hook: InetHookNumber, priority: u32) -> NfTablesMessage {
    NfTablesMessage::NewChain(ChainMessage {
        attributes: vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(name.to_owned()),
            ChainAttribute::Hook(vec![Hook::Number(hook.into()), Hook::Priority(priority)]),
            ChainAttribute::Policy(NF_ACCEPT),
            ChainAttribute::Type(kind.to_owned()),
        ],
    })
}

fn rule(chain: &str, expressions: Vec<Expression>) -> NfTablesMessage {
    let expressions = expressions.into_iter().map(ListAttribute::from).collect();
    NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
        ],
    })
}

/// Whether the name of the device begins with ours.
fn device(which: MetaKey) -> Vec<Expression> {
    vec![load(which), compare(Operator::Equal, DEVICE.as_bytes())]
}

fn is_icmp() -> Vec<Expression> {
    vec![load(MetaKey::L4Proto), compare(Operator::Equal, &[ICMP])]
}

/// Whether the packet belongs to what was let through before.
fn belongs() -> Vec<Expression> {
    /// `NFTA_CT_DREG`, `NFTA_CT_KEY` and its value `NFT_CT_STATE`.
    const DESTINATION: u16 = 1;
    const KEY: u16 = 2;
    const STATE: u32 = 0;
    let number = |kind, number: u32| DefaultNla::new(kind, number.to_be_bytes().to_vec());
    let attributes = vec![number(DESTINATION, Register::Reg1.into()), number(KEY, STATE)];
    vec![
        Expression::Other { expression_type: "ct".to_owned(), attributes },
        Expression::Bitwise(vec![
            Bitwise::SourceRegister(Register::Reg1),
            Bitwise::DestinationRegister(Register::Reg1),
            Bitwise::Length(4),
            Bitwise::Mask(DataAttribute::Value(BELONGS.to_ne_bytes().to_vec())),
            Bitwise::Xor(DataAttribute::Value(vec![0; 4])),
        ]),
        compare(Operator::NotEqual, &[0; 4]),
    ]
}

fn load(key: MetaKey) -> Expression {
    Expression::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)])
}

fn compare(operator: Operator, with: &[u8]) -> Expression {
    Expression::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(with.to_vec())),
    ])
}

fn accept() -> Vec<Expression> {
    verdict(NF_ACCEPT)
}

fn drop_it() -> Vec<Expression> {
    verdict(NF_DROP)
}

fn verdict(code: u32) -> Vec<Expression> {
    let code = VerdictAttribute::Code(Verdict::Other(code));
    vec![Expression::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(vec![code])),
    ])]
}
