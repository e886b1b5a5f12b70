CREATE FEATURE SERVICE few WITH (min_items = 20, fallback = 'popular') AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item) LIMIT 10;
CREATE FEATURE SERVICE nobody WITH (min_items = 2, fallback = 'populr') AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE one_row WITH (min_items = 2, fallback = 'plain') AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE chained WITH (min_items = 2, fallback = 'few') AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE other_request WITH (min_items = 2, fallback = 'popular') AS
SELECT i.item FROM REQUEST (planes BIGINT[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE other_outputs WITH (min_items = 2, fallback = 'popular') AS
SELECT i.item AS plane FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE without WITH (fallback = 'popular') AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE popular AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE plain AS
SELECT r.planes AS item FROM REQUEST (planes VARCHAR[]) r;
