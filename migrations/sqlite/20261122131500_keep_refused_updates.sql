-- Who sent an update that is not to be applied; null where it is not known.
alter table quarantine add column member blob check (member is null or length(member) = 16);

-- The oldest go first where there are too many.
create index quarantine_at on quarantine (at);
