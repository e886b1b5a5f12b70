SELECT * FROM departures;
