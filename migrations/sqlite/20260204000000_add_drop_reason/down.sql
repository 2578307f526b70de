-- Write the reasons back as sentences.
UPDATE "usagectl_notices"
SET "error" = CASE "drop_reason"
    WHEN 'NO_CHANNEL' THEN 'there is no channel of this name'
    WHEN 'SUPERSEDED' THEN 'it was over before this could be told'
    ELSE 'given up after ' || "attempts" || CASE "attempts" WHEN 1 THEN ' failed try' ELSE ' failed tries' END
        || coalesce(': ' || "error", '') END
WHERE "drop_reason" IS NOT NULL;

ALTER TABLE "usagectl_notices" DROP COLUMN "drop_reason";
