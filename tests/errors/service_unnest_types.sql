CREATE FEATURE SERVICE no_list AS
SELECT i.item FROM REQUEST (plane VARCHAR) r LEFT JOIN plane_recent p ON p.tailnum = r.plane CROSS JOIN UNNEST(p.departures_1d) AS i(item);
CREATE FEATURE SERVICE no_condition AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item)
LEFT JOIN plane_recent p ON p.tailnum = i.item WHERE i.item = 'x' AND p.departures_1d;
CREATE FEATURE SERVICE no_order AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item) ORDER BY i.item / 2;
CREATE FEATURE SERVICE other_type WITH (min_items = 1, fallback = 'popular') AS
SELECT CAST(i.item AS BIGINT) AS item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
CREATE FEATURE SERVICE popular AS
SELECT i.item FROM REQUEST (planes VARCHAR[]) r CROSS JOIN UNNEST(r.planes) AS i(item);
