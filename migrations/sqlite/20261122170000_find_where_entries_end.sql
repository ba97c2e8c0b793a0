-- A flush that goes on where the one before it ended makes that entry longer. It is found by where it ends: of a
-- client whose units a turn deleted here and there there are very many entries, and each row would look at them all.
drop index ledger_units;
create index ledger_ends on ledger (document, client, clock + length);
