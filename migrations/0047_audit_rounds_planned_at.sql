-- When a round of the audit was planned. What a node had lost by then counts against it in this round; what is found
-- later has moved its score when it was found. The end of the round's window does not tell: a round that is caught up
-- late begins, for its pace, before what the round before has found.
ALTER TABLE audit_schedule ADD COLUMN planned_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE audit_schedule ALTER COLUMN planned_at DROP DEFAULT;
