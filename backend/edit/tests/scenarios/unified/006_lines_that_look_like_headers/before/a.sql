select 1;
-- first
select 2;
