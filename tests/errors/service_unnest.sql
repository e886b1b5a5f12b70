CREATE FEATURE SERVICE left_join AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r LEFT JOIN UNNEST(r.planes) AS i(item) ON true;
CREATE FEATURE SERVICE no_names AS
SELECT r.planes FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS item;
CREATE FEATURE SERVICE numbered AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) WITH ORDINALITY AS i(item);
CREATE FEATURE SERVICE one_name AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes, r.planes) AS i(item, item);
CREATE FEATURE SERVICE twice AS
SELECT i.item FROM REQUEST (planes VARCHAR[], others VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item) CROSS JOIN UNNEST(r.others) AS j(other);
CREATE FEATURE SERVICE comma AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r, UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE taken AS
SELECT r.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS r(item);
CREATE FEATURE SERVICE circle AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r
CROSS JOIN UNNEST(array_append(r.planes, p.last_origin)) AS i(item)
LEFT JOIN plane_recent p ON p.tailnum = i.item;
CREATE FEATURE SERVICE event AS
SELECT i.item, p.departures_1d FROM REQUEST AS departures r
LEFT JOIN plane_recent p ON p.tailnum = r.tailnum
CROSS JOIN UNNEST([r.origin, r.dest]) AS i(item);
CREATE FEATURE SERVICE no_candidates WITH (min_items = 2, fallback = 'popular') AS
SELECT r.planes FROM REQUEST (planes VARCHAR[]) r;
CREATE FEATURE SERVICE clauses WITH (min_items = 20) AS
SELECT DISTINCT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item)
WHERE count(*) > 1 GROUP BY 1 ORDER BY 1, i.itm LIMIT 0;
CREATE FEATURE SERVICE offset_alone AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item) LIMIT 5 OFFSET 2;
