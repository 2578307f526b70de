-- Nothing to undo: a dirty hour is only counted again.
SELECT 1;
