-- The reason why a notice was dropped becomes a value of its own; until now it was a sentence in "error".
-- NO_CHANNEL: its channel was removed. SUPERSEDED: the episode ended before the notice was sent. GAVE_UP: too
-- many attempts failed, and "error" holds the reason of the last failure.
ALTER TABLE "usagectl_notices"
    ADD COLUMN "drop_reason" TEXT CHECK ("drop_reason" IN ('NO_CHANNEL', 'SUPERSEDED', 'GAVE_UP'));

UPDATE "usagectl_notices"
SET "drop_reason" = CASE "error"
    WHEN 'there is no channel of this name' THEN 'NO_CHANNEL'
    WHEN 'it was over before this could be told' THEN 'SUPERSEDED'
    ELSE 'GAVE_UP' END
WHERE "delivery" = 'DROPPED';

UPDATE "usagectl_notices"
SET "error" = CASE
    WHEN "error" LIKE 'given up after % failed tr%: %' THEN substr("error", instr("error", ': ') + 2) END
WHERE "error" IN ('there is no channel of this name', 'it was over before this could be told')
    OR "error" LIKE 'given up after % failed tr%: %';
