-- The ledger learns who did something where it was no turn, and what the units that came back stand for.
-- SQLite cannot drop a `not null`, so the table is made anew.
create table ledger_anew (
    document  blob    not null references documents (id),
    epoch     integer not null,
    seq       integer not null,
    position  integer not null,
    turn      blob,
    member    blob,
    hunk      integer,
    kind      text    not null,
    client    integer not null,
    clock     integer not null,
    length    integer not null,
    text      text,
    of_client integer,
    of_clock  integer,
    primary key (document, epoch, seq, position),
    check ((turn is null) <> (member is null)),
    check ((of_client is null) = (of_clock is null))
) strict, without rowid;

insert into ledger_anew
    (document, epoch, seq, position, turn, hunk, kind, client, clock, length, text)
select document, epoch, seq, position, turn, hunk, kind, client, clock, length, text from ledger;

drop table ledger;
alter table ledger_anew rename to ledger;

create index ledger_turn on ledger (turn) where turn is not null;

-- A flush that goes on where the one before it ended makes that entry longer.
create index ledger_units on ledger (document, client, clock);
