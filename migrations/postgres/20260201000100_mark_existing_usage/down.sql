-- Nothing to undo: a mark only says that an hour is to be counted again.
SELECT 1;
