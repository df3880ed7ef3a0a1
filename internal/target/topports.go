package target

import (
	"strings"
	"unicode"
)

// TopPorts returns the first n ports of our order of ports, and all of them
// when n is larger. If within is not empty, only its ports count: the result is
// then the first n of those.
func TopPorts(n int, within Ports) Ports {
	var top []uint16
	for _, port := range portOrder() {
		if len(top) == n {
			break
		}
		if _, ok := within.Rank(port); ok || within.Len() == 0 {
			top = append(top, port)
		}
	}
	return PortsOf(top...)
}

// commonPorts is where services are commonly exposed, the likelier first: our
// own judgement, group by group, and no measured ranking. Every line names what
// it is there for: the assignment in IANA's Service Name and Transport Protocol
// Port Number Registry (RFC 6335), or the default of widely used software. That
// whole classes of services (web interfaces of devices, remote desktops,
// databases, queues) are met far from the well-known ports, and web servers
// beside port 80 above all, is what these found:
//
//   - Durumeric, Bailey, Halderman: An Internet-Wide View of Internet-Wide
//     Scanning, USENIX Security 2014, for what scanners look for;
//   - Izhikevich, Teixeira, Durumeric: LZR: Identifying Unexpected Internet
//     Services, USENIX Security 2021;
//   - Izhikevich, Teixeira, Durumeric: Predicting IPv4 Services Across All
//     Ports, SIGCOMM 2022.
//
// Lines are ports and ranges, then # and the reason. A range may hold ports that
// stand further up; each counts where it is first.
const commonPorts = `
80,443,22                      # http, https, ssh
8080,8443,21,25,3389,23,53     # http-alt, https-alt, ftp, smtp, Remote Desktop, telnet, dns
445,139,135,3306               # SMB, NetBIOS, Windows RPC, MySQL
110,143,993,995,587,465        # pop3, imap, both over TLS, mail submission
5900,8000,8888,111,1723        # VNC, http beside port 80, portmapper, PPTP
5432,6379,27017,1433,9200      # PostgreSQL, Redis, MongoDB, SQL Server, Elasticsearch
2222,81,8081,8008              # ssh and http beside their ports
5060,554,7547,161,389,636      # SIP, RTSP, TR-069, snmp, LDAP and over TLS
8082,8083,8090,8880            # http beside port 80
9000,9090,9443,10000,10443,4443 # Portainer and SonarQube, Prometheus and Cockpit, Webmin, https beside port 443
3000,5000,5001,5985,5986       # development servers and Grafana, NAS and registry, WinRM
49152,1521,2049,873,548        # first dynamic port, Oracle, NFS, rsync, AFP
88,113,179,500,502             # Kerberos, ident, BGP, IKE, Modbus
514,515,631,1080,1883          # rsh and syslog, lpd, IPP, SOCKS, MQTT
2082,2083,2086,2087            # cPanel and WHM
3128,5222,5601,5672,6443,7001  # Squid, XMPP, Kibana, AMQP, Kubernetes, WebLogic
8009,8010,8086,8181            # AJP, http, InfluxDB, http
8291,8728,9100,10250,11211,15672 # RouterOS twice, printers and node_exporter, kubelet, memcached, RabbitMQ
2375,2376,2379,3260            # Docker, and over TLS, etcd, iSCSI
5061,5555,5938,6667,9042,20000 # SIP over TLS, adb, TeamViewer, IRC, Cassandra, DNP3 and Usermin
` + // Here the first hundred ends.
	`
82-90,280,591,593,777,808,981,1010,1443 # web servers on low ports, Windows RPC over http
2052,2053,2077-2080,2095,2096  # panels of web hosting, and ports that CDNs forward
2443,3001-3010,3443,4000-4010,4040,4200,4433,4434,4444,4848 # development servers, Spark, GlassFish, Metasploit
5002-5010,5080,5443,5800,5801,6080,6443,7000-7010,7070,7071,7080,7443,7777,7800 # web, VNC in the browser, Cassandra, Zimbra, WebLogic
8001-8020,8030,8040,8042,8060,8069,8070-8079,8084-8089,8091-8100 # web in all its variants; YARN, Odoo, Splunk, Couchbase
8111,8112,8118,8123,8126,8139,8140,8161,8172,8180-8189,8200,8222 # TeamCity, Deluge, Privoxy, ClickHouse, Puppet, ActiveMQ, Web Deploy, Vault
8243,8280,8300-8302,8333,8383,8400,8444-8449,8484,8500,8530,8531 # WSO2, Consul, Bitcoin, https, WSUS
8545,8546,8554,8585,8600,8686,8729,8765,8787,8800,8834,8843,8880-8899,8983,8989,8990,8999 # Ethereum, RTSP, RStudio, Nessus, UniFi, Solr
9001-9010,9043,9060,9080,9091-9099,9115,9160,9191,9201,9292,9300,9306,9389 # Tor and Supervisor, WebSphere, exporters, Kafka, Elasticsearch, Sphinx, AD
9418,9444,9445,9600,9800,9981,9990,9993,9999 # git, https, Logstash, WebDAV, Tvheadend, WildFly, ZeroTier
10001,10002,10050,10051,10080,10255,10256,11000,11111,12345,16080,18080,18081 # devices by serial line, Zabbix, kubelet, Spark, Monero
28080,30000,30005,50000,50070,50075,60000,60010 # web, NodePort, TR-069, SAP and Jenkins, Hadoop, HBase
` + // Names, mail, logins and files.
	`
20,24,26,37,43,49,70,79,106,109,119,123 # ftp-data, mail twice, time, whois, TACACS+, gopher, finger, pop, nntp, ntp
137,138,144,194,199,264,311,366,427,443-444,464,475,497 # NetBIOS, IRC, smux, Check Point, macOS Server, odmr, SLP, snpp, kpasswd, Retrospect
512,513,524,540,543,544,546,547,555,556 # rexec, rlogin, NCP, uucp, Kerberos login, DHCPv6, remotefs
563,601,623,625,646,647,666,674,691,749,750,751,808,830,843,853,860,902,903 # nntps, syslog, IPMI, Open Directory, LDP, acap, Exchange, Kerberos, NETCONF, DNS over TLS, iSCSI, VMware
989,990,992,994,1025-1030      # ftps, telnets, ircs, the first ports of Windows RPC
` + // Remote control and management.
	`
1022,1098,1099,1194,1241,1311,1352,1494,1503,1581,1701,1720,1755,1812,1900,1935,1984 # ssh, Java RMI, OpenVPN, Nessus, Dell, Notes, Citrix, T.120, TSM, L2TP, H.323, MMS, RADIUS, UPnP, RTMP, Big Brother
2000,2001,2002,2022,2121,2123,2181,2200,2221,2323,2401,2404,2480 # SCCP, ssh, ftp, GTP, ZooKeeper, telnet beside port 23, CVS, IEC 104, OrientDB
2598,2601,2602,2604,2605,2869,2947,3020,3050 # Citrix, Quagga, UPnP, gpsd, CIFS, Firebird
3268,3269,3283,3299,3300,3310,3333,3388,3390,3478,3632,3689,3690,3780,3868,3899 # Global Catalog, Apple Remote Desktop, SAP, Ceph, ClamAV, RDP, STUN, distcc, DAAP, Subversion, Nexpose, Diameter, Radmin
4022,4063,4064,4172,4242,4321,4369,4445,4500,4505,4506,4567,4646,4730,4786,4840,4899,4949 # ssh, OMERO, PCoIP, rwhois, Erlang, IKE, Salt, Galera, Nomad, Gearman, Smart Install, OPC UA, Radmin, Munin
5037,5038,5051,5190,5201,5269,5280,5298,5351,5353,5357,5358,5431,5433,5500,5550,5554,5560 # adb, Asterisk, Mesos, AIM, iperf, XMPP, NAT-PMP, mDNS, WSD, UPnP, PostgreSQL, VNC, Oracle
5631,5632,5666,5667,5671,5673,5678,5683,5684,5693,5901-5910,5984,5987,5988,5989 # pcAnywhere, NRPE, NSCA, AMQP, CoAP, NCPA, VNC, CouchDB, WBEM
6000-6007,6060,6112,6346,6380,6389,6432,6502,6514,6543,6556,6600,6633,6653 # X11, pprof, dtspcd, Gnutella, Redis, EMC, PgBouncer, syslog over TLS, Checkmk, MPD, OpenFlow
6660-6669,6697,6789,6881,6969,7077,7100,7170,7199,7210,7272,7474,7473,7634,7676,7687,7700,7946 # IRC, UniFi, BitTorrent, Spark, X fonts, Cassandra, MaxDB, Neo4j, hddtemp, JMS, Meilisearch, Docker
` + // Databases, clusters, queues, industry, houses and games.
	`
102,789,1089-1091,1200,1234,1344,1414,1434,1522,1526,1527,1604,1666,1801,1830,1911,1947,1962 # S7, Crimson, Foundation Fieldbus, CODESYS, ICAP, IBM MQ, SQL Server, Oracle, Citrix, Perforce, MSMQ, Fox, Sentinel, PCWorx
2103,2105,2107,2152,2179,2345,2377,2380,2424,2455,2483,2484,2540,2638,2761,2762 # MSMQ, GTP, Hyper-V, Delve, Swarm, etcd, OrientDB, CODESYS, Oracle, Sybase, DICOM
3100,3200,3201,3301,3351,3493,3551,3671,4150,4151,4160,4161,4222,4711,4800,4822 # Loki, SAP, Tarantool, Btrieve, UPS tools, KNX, NSQ, NATS, eMule, Moxa, Guacamole
5006,5007,5094,5577,6123,6363,6650,7051,7054,7700,8047,8093,8125,8649,8848 # MELSEC, HART-IP, LED controllers, Flink, Pulsar, Fabric, Drill, StatsD, Ganglia, Nacos
9092,9093,9094,9101-9103,9151,9229,9333,9411,9527,9528,9530,9633,9700,9761,9876,9877 # Kafka, Bacula, Tor, Node.js inspector, SeaweedFS, Zipkin, cameras, openHAB, RocketMQ
10911,11300,11434,13720-13722,13782,13783,15671,16010,16992,16993,17185,17500,18245 # RocketMQ, Beanstalkd, Ollama, NetBackup, RabbitMQ, HBase, Intel AMT, VxWorks, Dropbox, GE SRTP
19132,19150,19999,20256,20547,22105,22222,23023,25105,25565,25672,26379,26656,26657 # Minecraft, Home Assistant, Netdata, Unitronics, ProConOS, ssh, telnet, Insteon, RabbitMQ, Redis Sentinel, Tendermint
27015,27016,27018,27019,27036,28015,28017,29015,30303,30718,31337,32400,32764 # Source engine, MongoDB, Steam, RethinkDB, Ethereum, Lantronix, Back Orifice, Plex, a back door of routers
33060,33848,34567,35357,37215,37777,41794,41795,44818,47808,48899 # MySQL X, Jenkins, cameras, Keystone, routers, Crestron, EtherNet/IP, BACnet, Beckhoff
49153-49160,49664-49670        # the first dynamic ports of old and new Windows, where RPC is
50001,50002,50030,50050,50051,51106,51235,54321,55442,55443,55553,60001,60030,61613,61614,61616,62078,64738 # Electrum, Hadoop, Cobalt Strike, gRPC, Bosch, XRP, Yeelight, Metasploit, HBase, STOMP, ActiveMQ, iOS, Mumble
` + // Small services, older programs, and second ports of what stands above.
	`
7,9,11,13,17,19,105,115,209-210,220,256-259 # echo, discard, systat, daytime, quotes, chargen, name server, simple ftp, QMTP, Z39.50, imap3, Check Point
369-371,406,407,411,412,446-448,487,530,538,541,564 # Coda, ClearCase, IMSP, Timbuktu, Direct Connect, DB2, SAFT, courier, GNUstep, FortiManager, 9P
628,639,648,655,657,660,664,694,700,705,706 # QMQP, MSDP, registries, tinc, HMC, macOS Server, AMT, Heartbeat, EPP, AgentX, SILC
754,783,800,861,862,888,898,900,901,911,912,953,987 # Kerberos, spamd, web, OWAMP, TWAMP, CDDB, Sun, CORBA, SWAT, backup, VMware, rndc, SBS
1031-1049                      # the next ports of old Windows, where RPC is
1085,1111,1119,1214,1220,1270,1337,1400 # WebObjects, Flash, Battle.net, Kazaa, QuickTime, OMI, Strapi, Sonos
1417-1420,1500,1512,1524,1525,1533,1540,1541,1556,1560 # Timbuktu, ISPmanager, WINS, ingreslock, Oracle, Sametime, 1C, Veritas
1580,1583,1589,1645,1688,1718,1719,1741,1761,1782,1813 # TSM, Pervasive, VQP, RADIUS, KMS, H.323, CiscoWorks, LANDesk, JetSend
1863,1880,1967,1972,1986,1998,1999 # MSN, Node-RED, IP SLA, Cache, three of Cisco's
2003,2004,2030,2065,2067,2068,2100,2119,2160,2161,2190,2260 # Graphite, Oracle, DLSw, KVM switches, Globus, APC, TiVo
2301,2381-2383,2393,2394,2399,2427,2447,2481,2482,2492,2512,2513 # HP, OLAP, FileMaker, MGCP, OpenView, Oracle, Groove, Citrix
2525,2575,2603,2606,2608,2628,2701-2703,2725,2727,2775,2809,2811,2967 # smtp, HL7, Quagga, dict, SCCM, Razor, OLAP, MGCP, SMPP, CORBA, GridFTP, Symantec
3052,3101,3129,3130,3202,3203,3298,3307,3308,3343,3372 # PowerChute, BlackBerry, Squid, SAP, MySQL, Windows clusters, MSDTC
3483,3500,3527,3580,3600,3601,3659,3784,3790,3910,3911,3999 # Squeezebox, Dapr, Backup Exec, NI, SAP, sasl, Ventrilo, Metasploit, printers, remote control
4045,4111,4125,4190,4333,4343,4440,4446,4447,4457 # NFS locks, Xgrid, SBS, Sieve, mSQL, https, Rundeck, JBoss
4550,4555,4569,4647,4648,4662,4679,4712,4713,4843,4880,4998 # GeoVision, James, IAX, Nomad, eDonkey, Eaton, JBoss, PulseAudio, OPC UA, HiSLIP, iTach
5022,5025,5040,5044,5050,5064,5065,5084,5085,5090,5093,5151,5160 # SQL Server mirrors, SCPI, Windows, Beats, Mesos, EPICS, RFID readers, 3CX, Sentinel, ArcSDE, FreePBX
5223,5228,5281,5349,5355,5405,5480,5498,5670,5679,5722-5725 # XMPP and Google's and Apple's messages, TURN, LLMNR, NetSupport, vCenter, Hotline, ZRE, ActiveSync, DFS, SCOM
5858,5911-5915,5999            # Node.js inspector, VNC, CVSup
6010,6011,6050,6066,6081,6082,6100,6101,6129,6200,6347,6400,6444,6481 # X11 by ssh, ARCserve, Spark, Varnish, Backup Exec, DameWare, Oracle, Gnutella, Crystal Reports, Grid Engine, Solaris
6513,6547-6549,6566,6588,6619,6640,6679,6699,6788,6800,6880,6882-6890,6901 # NETCONF, APC, SANE, AnalogX, Odette, Open vSwitch, IRC, Napster, aria2, BitTorrent, VNC in the browser
`

// portOrder returns every port but 0, each once: the common ones, then the
// other well-known (system) ports of RFC 6335 section 6, which services of old
// stand on, then the registered (user) and the dynamic ones: all ascending, so
// one run through the ports does it.
func portOrder() []uint16 {
	order := make([]uint16, 0, 65535)
	var seen [1 << 16]bool
	add := func(first, last int) {
		for p := first; p <= last; p++ {
			if !seen[p] {
				seen[p] = true
				order = append(order, uint16(p))
			}
		}
	}
	for line := range strings.Lines(commonPorts) {
		line, _, _ = strings.Cut(line, "#")
		for item := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
			first, last, err := parsePortItem(item, nil)
			if err != nil {
				panic(err) // our own list
			}
			add(first, last)
		}
	}
	add(1, 65535)
	return order
}
